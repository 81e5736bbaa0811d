use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::median;
use super::server::{idle, pin_to_processors};
use crate::client::{ApiRequest, RegionClient};
use crate::demo::{ms, quantile};
use crate::local::{Brokers, Layout, LocalCluster, Options, RegionSpec, Signals};

const DIM: usize = 100;
/// Points per request while the collection is filled.
const BATCH: usize = 500;
/// Payload bytes of the points written during the searches, and the interval between two writes: the log grows so fast
/// that a snapshot is due every few seconds. These few points are in a collection of their own.
const PAYLOAD_BYTES: usize = 1_000_000;
const WRITE_EVERY: Duration = Duration::from_millis(100);
const WRITTEN_POINTS: u64 = 4;
/// Interval between two checks for a snapshot draft.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Samples per p99.
const SAMPLES: usize = 10_000;

/// Arguments of `meridian bench limits snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of vectors, of 100 dimensions.
    #[arg(long, default_value_t = 120_000)]
    points: usize,
    /// Searches per second, about 30 % of the machine's capacity.
    #[arg(long, default_value_t = 300)]
    queries: u32,
    /// Repetitions.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Writes to one replica continuously, so that it takes snapshots by itself. Each search counts as with or without a
/// concurrent snapshot. Node and load generator run on different processors.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let spec: RegionSpec = "limits:1x1".parse()?;
    let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
    let binary = Some(pin_to_processors(dir.path())?);
    let options = Options { binary, restart: true, brokers: Brokers::default(), proxies: Vec::new() };
    let mut signals = Signals::new()?;
    let cluster = LocalCluster::start(layout, &options, signals.stopped()).await?;
    let measured = measure(&args, &cluster, dir.path()).await;
    cluster.stop().await;
    let mut ratios = measured?;
    println!("limits snapshot: points={} median_ratio={:.2} bound=1.5", args.points, median(&mut ratios));
    Ok(())
}

async fn measure(args: &Args, cluster: &LocalCluster, dir: &Path) -> anyhow::Result<Vec<f64>> {
    let region = &cluster.layout().regions[0];
    let node = &region.nodes[0];
    let snapshots = dir.join(region.name.as_str()).join(region.node_name(node)).join("replica/snapshots");
    let api = RegionClient::new(vec![node.api_url()], Some(region.api_key.clone()))?;
    for (name, dim) in [("limits", DIM), ("beside", 1)] {
        let collection = json!({"vectors": {"size": dim, "distance": "Euclid"}});
        api.send(0, ApiRequest::put(&format!("/collections/{name}"), &collection)).await?.error_for_status()?;
    }
    for first in (0..args.points).step_by(BATCH) {
        write(&api, (first..args.points.min(first + BATCH)).collect()).await?;
    }
    let pid = cluster.pid(0, 0).context("the node is not running")?;
    idle(pid).await?;
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let (mut with, mut without) = load(args, &api, &snapshots).await?;
        let [with_snapshot, without_snapshot] = [&mut with, &mut without].map(|times| quantile(times, 0.99));
        let ratio = with_snapshot.as_secs_f64() / without_snapshot.as_secs_f64();
        println!(
            "limits snapshot: round={round} samples={}+{} p99_during_ms={} p99_without_ms={} ratio={ratio:.2}",
            with.len(),
            without.len(),
            ms(with_snapshot),
            ms(without_snapshot)
        );
        ratios.push(ratio);
    }
    Ok(ratios)
}

/// Search latencies while a snapshot is written, and while none is.
async fn load(args: &Args, api: &RegionClient, snapshots: &Path) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (writing, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let watch = async {
        while !done.load(Ordering::Relaxed) {
            writing.store(is_writing(snapshots), Ordering::Relaxed);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        anyhow::Ok(())
    };
    let writes = async {
        let text = "x".repeat(PAYLOAD_BYTES);
        let mut every = tokio::time::interval(WRITE_EVERY);
        for id in (0..WRITTEN_POINTS).cycle() {
            every.tick().await;
            if done.load(Ordering::Relaxed) {
                break;
            }
            let body = json!({"points": [{"id": id, "vector": [1.0], "payload": {"text": text}}]});
            api.send(0, ApiRequest::put("/collections/beside/points?wait=true", &body)).await?.error_for_status()?;
        }
        anyhow::Ok(())
    };
    let searches = async {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for nth in 0_u32.. {
            if with.len() >= SAMPLES && without.len() >= SAMPLES {
                break;
            }
            // Open load: latency counts from the scheduled start.
            let due = start + Duration::from_secs(1) * nth / args.queries;
            tokio::time::sleep_until(due.into()).await;
            let before = writing.load(Ordering::Relaxed);
            let query = json!({"query": vector(u64::from(nth) << 32), "limit": 10});
            api.send(0, ApiRequest::post("/collections/limits/points/query", &query)).await?.error_for_status()?;
            let times = if before || writing.load(Ordering::Relaxed) { &mut with } else { &mut without };
            if times.len() < 10 * SAMPLES {
                times.push(due.elapsed());
            }
        }
        done.store(true, Ordering::Relaxed);
        anyhow::Ok((with, without))
    };
    let (found, (), ()) = futures::try_join!(searches, watch, writes)?;
    Ok(found)
}

fn is_writing(snapshots: &Path) -> bool {
    let names = std::fs::read_dir(snapshots).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with(".draft"))
}

async fn write(api: &RegionClient, ids: Vec<usize>) -> anyhow::Result<()> {
    let points: Vec<Value> = ids.iter().map(|id| json!({"id": id, "vector": vector(*id as u64)})).collect();
    api.send(0, ApiRequest::put("/collections/limits/points?wait=true", &json!({"points": points})))
        .await?
        .error_for_status()?;
    Ok(())
}

fn vector(id: u64) -> Vec<f32> {
    let mut random = rand::rngs::SmallRng::seed_from_u64(id);
    (0..DIM).map(|_| random.random()).collect()
}
