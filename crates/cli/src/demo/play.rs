//! Two regions raised, played on, and stopped, whatever happens in between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::numbers::grouped;
use super::stage::{Stage, heading};
use crate::local::{BrokerSpec, Brokers, Layout, Options, RegionSpec, Running, Signals, WireSpec};
use crate::vectors;

/// The regions; the first is primary.
const REGIONS: [&str; 2] = ["us-east:1x3", "eu-west:1x3"];
/// Fewer vectors show nothing.
const LEAST: usize = 1_000;
/// For MirrorMaker 2 to bring the first record.
const MIRRORED: Duration = Duration::from_secs(120);

/// What is played on.
#[derive(Debug, Clone, clap::Args)]
pub struct Setting {
    /// How many vectors.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    n: u32,
    /// A NumPy file of 32-bit floats in rows, in place of the words.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep configurations, logs and data in this folder. Default: a folder that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The broker beside a region as REGION=HOST:PORT, with MirrorMaker 2 between them: the regions follow each other through
    /// them. `TRANSPORT=kafka make demo` starts all three.
    #[arg(long = "kafka")]
    kafka: Vec<BrokerSpec>,
    /// A way into a region as REGION=FROM:TO, two ports of this machine: cut and healed with the region.
    #[arg(long = "wire")]
    wires: Vec<WireSpec>,
}

/// Starts both regions, runs `scenes`, stops everything: also on a signal, and when a scene fails.
///
/// # Errors
/// When the data cannot be read, the regions do not start, or a scene fails.
pub async fn play<T>(
    setting: Setting,
    signals: &mut Signals,
    scenes: impl AsyncFnOnce(&Stage) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Setting { n, data, dir, kafka, wires } = setting;
    let words = tokio::task::spawn_blocking(move || vectors::open(data.as_deref(), n as usize)).await??;
    anyhow::ensure!(
        words.len() >= LEAST,
        "{} vectors are too few to show anything; {LEAST} are the least",
        words.len()
    );
    let (dir, _removed_at_the_end) = match dir {
        Some(dir) => (dir, None),
        None => {
            let dir = tempfile::Builder::new().prefix("meridian-").tempdir()?;
            (dir.path().to_owned(), Some(dir))
        }
    };
    heading("Start");
    let begun = Instant::now();
    let specs = REGIONS.map(|spec| spec.parse::<RegionSpec>().expect("these are regions"));
    let layout = Layout::open(&dir, &specs, &mut rand::rng())?;
    let brokers: Brokers = kafka.into_iter().collect();
    let through_kafka = !brokers.is_empty();
    let options = Options { binary: None, restart: true, brokers, wires };
    let running = Running::start(layout, &options, signals.stopped()).await?;
    let stage = Stage::new(running, words)?;
    println!(
        "   {} and {}: three replicas each, mutual TLS, ready in {:.1} s. {} is primary.",
        stage.name(0),
        stage.name(1),
        begun.elapsed().as_secs_f64(),
        stage.name(0)
    );
    println!("   {} real vectors wait to be loaded.", grouped(stage.words.len()));
    let scenes = async {
        if through_kafka {
            mirrored(&stage).await?;
        }
        scenes(&stage).await
    };
    let played = tokio::select! {
        played = scenes => played,
        () = signals.stopped() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    stage.running.stop().await;
    played
}

/// Waits until the other region reads what MirrorMaker 2 brings.
async fn mirrored(stage: &Stage) -> anyhow::Result<()> {
    println!("   They follow each other through Kafka; waiting for the topic that MirrorMaker 2 copies.");
    // Once anything came through, it has the primary's promise of a time, and a bound on its own staleness.
    let reads = async || {
        let leader = stage.running.leader(1, Stage::shard()).await?;
        Ok(stage.position(&stage.other, leader).await?.staleness_ms.is_some())
    };
    let took = Stage::until("MirrorMaker 2", MIRRORED, reads).await?;
    println!("   {} reads it after {:.1} s.", stage.name(1), took.as_secs_f64());
    Ok(())
}
