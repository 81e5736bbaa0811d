//! `meridian local`.

use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::brokers::BrokerSpec;
use super::cluster::{LocalCluster, Options};
use super::layout::{Layout, RegionSpec};

/// Arguments of `meridian local`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for data, configurations, keys and logs. An existing folder is started again.
    #[arg(long)]
    dir: PathBuf,
    /// A region as NAME:SHARDSxREPLICAS; the first is the primary region, the others follow it.
    #[arg(long = "region", default_value = "us-east:1x3")]
    regions: Vec<RegionSpec>,
    /// The Kafka broker of a region as REGION=HOST:PORT. The primary region publishes to its own broker. Another region
    /// reads that one, or its own broker, to which MirrorMaker 2 must copy.
    #[arg(long = "kafka")]
    kafka: Vec<BrokerSpec>,
    /// API key of every region. Default: a random key per region.
    #[arg(long, env = "MERIDIAN_API_KEY", value_parser = api_key)]
    api_key: Option<String>,
    /// Do not restart nodes that exit.
    #[arg(long)]
    no_restart: bool,
}

/// Validates an API key by the rules of the nodes, which would not start with an invalid one.
fn api_key(text: &str) -> Result<String, &'static str> {
    match meridian_peer::read_api_keys(text) {
        Ok(keys) if keys.len() == 1 => Ok(text.trim().to_owned()),
        _ => Err("must be one line of at least 8 visible ASCII characters"),
    }
}

/// Runs regions until a signal arrives or stdin ends. Prints one JSON line when all are ready, and one per restart.
///
/// # Errors
/// When the regions cannot be started.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut layout = Layout::open(&args.dir, &args.regions, &mut rand::rng())?;
    if let Some(key) = args.api_key {
        layout.regions.iter_mut().for_each(|region| region.api_key.clone_from(&key));
    }
    let mut signals = Signals::new()?;
    let options = Options {
        binary: None,
        restart: !args.no_restart,
        brokers: args.kafka.into_iter().collect(),
        proxies: Vec::new(),
    };
    let mut cluster = LocalCluster::start(layout, &options, signals.stopped()).await?;
    let mut stdin = std::pin::pin!(stdin_ended());
    let mut printed = print(&cluster.report());
    while printed.is_ok() {
        tokio::select! {
            () = signals.stopped() => break,
            () = &mut stdin => break,
            restart = cluster.next_restart() => printed = print(&json!({"restarted": restart})),
        }
    }
    cluster.stop().await;
    printed
}

fn print(line: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("stdout")
}

/// SIGTERM and SIGINT.
pub struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    /// Installs handlers for both signals.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// Resolves when a signal arrives.
    pub async fn stopped(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Resolves when the parent closes the pipe at stdin. A terminal, a file or `/dev/null` never ends.
fn stdin_ended() -> impl Future<Output = ()> {
    let piped = std::fs::metadata("/dev/stdin").is_ok_and(|stdin| {
        let kind = stdin.file_type();
        kind.is_fifo() || kind.is_socket()
    });
    let (sender, receiver) = oneshot::channel();
    if piped {
        // A detached thread that ends with the process: a read of stdin cannot be cancelled.
        std::thread::spawn(move || {
            if std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).is_ok() {
                let _ = sender.send(());
            }
        });
    }
    async move {
        if receiver.await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nodes_refuse_is_refused_before_they_start() {
        assert_eq!(api_key("eight-ch").as_deref(), Ok("eight-ch"));
        for refused in ["", "seven-c", "with a space", "two-lines-1\ntwo-lines-2"] {
            assert!(api_key(refused).is_err(), "{refused:?}");
        }
    }
}
