//! Starts two regions, runs the steps of a demo or benchmark on them, and stops them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::context::{DemoContext, heading};
use super::stats::grouped;
use crate::local::{BrokerSpec, Brokers, Layout, LocalCluster, Options, ProxySpec, RegionSpec, Signals};
use crate::vectors;

/// The regions; the first is primary.
const REGIONS: [&str; 2] = ["us-east:1x3", "eu-west:1x3"];
/// Fewer vectors make the results meaningless.
const MIN_VECTORS: usize = 1_000;
/// Timeout until MirrorMaker 2 has copied the first record.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(120);

/// Arguments that `meridian demo` and `meridian bench regions` share.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Number of vectors.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    n: u32,
    /// A NumPy file of 32-bit floats in rows, in place of the words.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep configurations, logs and data in this folder. Default: a folder that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The Kafka broker of a region as REGION=HOST:PORT, with MirrorMaker 2 between the brokers: the regions replicate
    /// through them. `TRANSPORT=kafka make demo` starts all three.
    #[arg(long = "kafka")]
    kafka: Vec<BrokerSpec>,
    /// A TCP proxy into a region as REGION=FROM:TO, two ports of this machine: cut and restored together with the region.
    #[arg(long = "wire")]
    proxies: Vec<ProxySpec>,
}

/// Starts both regions, runs `steps` and stops everything, also on a signal and when a step fails.
///
/// # Errors
/// When the data cannot be read, the regions do not start, or a step fails.
pub async fn run_demo<T>(
    demo_args: DemoArgs,
    signals: &mut Signals,
    steps: impl AsyncFnOnce(&DemoContext) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let DemoArgs { n, data, dir, kafka, proxies } = demo_args;
    let words = tokio::task::spawn_blocking(move || vectors::open_vectors(data.as_deref(), n as usize)).await??;
    anyhow::ensure!(words.len() >= MIN_VECTORS, "the number of vectors must be >= {MIN_VECTORS} (got {})", words.len());
    let (dir, _removed_at_the_end) = match dir {
        Some(dir) => (dir, None),
        None => {
            let dir = tempfile::Builder::new().prefix("meridian-").tempdir()?;
            (dir.path().to_owned(), Some(dir))
        }
    };
    heading("Start");
    let start = Instant::now();
    let specs = REGIONS.map(|spec| spec.parse::<RegionSpec>().expect("these are regions"));
    let layout = Layout::open(&dir, &specs, &mut rand::rng())?;
    let brokers: Brokers = kafka.into_iter().collect();
    let through_kafka = !brokers.is_empty();
    let options = Options { binary: None, restart: true, brokers, proxies };
    let cluster = LocalCluster::start(layout, &options, signals.stopped()).await?;
    let demo = DemoContext::new(cluster, words)?;
    println!(
        "   {} and {}: three replicas each, mutual TLS, ready in {:.1} s. {} is the primary region.",
        demo.region_name(0),
        demo.region_name(1),
        start.elapsed().as_secs_f64(),
        demo.region_name(0)
    );
    println!("   {} vectors will be loaded.", grouped(demo.words.len()));
    let steps = async {
        if through_kafka {
            wait_for_mirror(&demo).await?;
        }
        steps(&demo).await
    };
    let result = tokio::select! {
        result = steps => result,
        () = signals.stopped() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    demo.cluster.stop().await;
    result
}

/// Waits until the other region receives records through MirrorMaker 2.
async fn wait_for_mirror(demo: &DemoContext) -> anyhow::Result<()> {
    println!("   They replicate through Kafka; waiting for the topic that MirrorMaker 2 copies.");
    // The first received record carries a completeness statement, which bounds the region's staleness.
    let has_received = async || {
        let leader = demo.cluster.leader(1, DemoContext::shard()).await?;
        Ok(demo.position(&demo.secondary, leader).await?.staleness_ms.is_some())
    };
    let took = DemoContext::poll_until("MirrorMaker 2", MIRROR_TIMEOUT, has_received).await?;
    println!("   {} received the first record after {:.1} s.", demo.region_name(1), took.as_secs_f64());
    Ok(())
}
