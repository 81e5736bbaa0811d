//! `meridian render`: renders the operator's objects offline, for previews in Git and for a self-managed MirrorMaker 2.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use meridian_plan::{AllowedHost, Settings, mirror_maker_offline, render_offline};

/// Input size limit per file.
const INPUT_BYTES: u64 = 64 << 20;

/// Arguments of `meridian render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files with VectorClusters and ReplicationLinks, `-` for standard input; all are read as one stream. Other kinds are
    /// ignored.
    #[arg(short, long = "filename", required = true)]
    filenames: Vec<PathBuf>,
    /// Print the MirrorMaker 2 properties of each link with a mirrored topic, instead of the objects.
    #[arg(long)]
    mirror_maker2: bool,
    /// Image of the data plane for specs that name none. Default: the image of this version.
    #[arg(long)]
    default_image: Option<String>,
    /// Image of Apache Kafka that runs MirrorMaker 2 in a Deployment.
    #[arg(long)]
    kafka_image: Option<String>,
    /// Allowed hosts of mesh routes, comma-separated: a host, `*.` before a host, or `*`.
    #[arg(long, value_delimiter = ',')]
    allowed_hosts: Vec<AllowedHost>,
}

/// Prints YAML documents or properties. Secrets are omitted: they are random and created once.
///
/// # Errors
/// When a file cannot be read, or a resource is invalid; names the resource and the field.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut text = String::new();
    for filename in &args.filenames {
        text.push_str(&read(filename).with_context(|| format!("read {}", filename.display()))?);
        text.push_str("\n---\n");
    }
    let default = Settings::default();
    let settings = Settings {
        default_image: args.default_image.clone().unwrap_or(default.default_image),
        kafka_image: args.kafka_image.clone().unwrap_or(default.kafka_image),
        allowed_hosts: args.allowed_hosts.clone(),
    };
    let render = if args.mirror_maker2 { mirror_maker_offline } else { render_offline };
    let out = render(&text, &settings)?;
    match std::io::stdout().lock().write_all(out.as_bytes()) {
        // The reader closed the pipe, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("stdout"),
    }
}

fn read(filename: &Path) -> anyhow::Result<String> {
    let input: Box<dyn Read> = match filename.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(std::fs::File::open(filename)?),
    };
    let mut text = String::new();
    input.take(INPUT_BYTES).read_to_string(&mut text)?;
    anyhow::ensure!((text.len() as u64) < INPUT_BYTES, "input must be shorter than {INPUT_BYTES} bytes");
    Ok(text)
}
