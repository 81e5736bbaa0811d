use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::median;
use super::server::{idle, on_its_own_processor};
use crate::client::{Ask, Region};
use crate::demo::{ms, quantile};
use crate::local::{Brokers, Layout, Options, RegionSpec, Running, Signals};

const DIM: usize = 100;
/// Points of one request while the collection is filled.
const BATCH: usize = 500;
/// Payload of a point that is written beside the searches, and the time between two writes: the log grows so fast that a
/// snapshot is due every few seconds. These points are in a collection of their own, and are few.
const PAYLOAD: usize = 1_000_000;
const WRITE_EVERY: Duration = Duration::from_millis(100);
const WRITTEN: u64 = 4;
/// How often the folder is looked at for a snapshot that is being written.
const LOOK: Duration = Duration::from_millis(5);
/// Samples behind each p99.
const SAMPLES: usize = 10_000;

/// How many, of what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Vectors, of 100 dimensions.
    #[arg(long, default_value_t = 120_000)]
    points: usize,
    /// Searches a second, about 30 % of what the machine can do.
    #[arg(long, default_value_t = 300)]
    queries: u32,
    /// Repetitions.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One replica is written to all the time, so that snapshots come by themselves; each search counts for the time with a
/// snapshot or for that without. Node and generator run on processors of their own.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let spec: RegionSpec = "limits:1x1".parse()?;
    let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
    let binary = Some(on_its_own_processor(dir.path())?);
    let options = Options { binary, restart: true, brokers: Brokers::default(), wires: Vec::new() };
    let mut signals = Signals::new()?;
    let running = Running::start(layout, &options, signals.stopped()).await?;
    let measured = measure(&args, &running, dir.path()).await;
    running.stop().await;
    let mut ratios = measured?;
    println!("limits snapshot: points={} median_ratio={:.2} bound=1.5", args.points, median(&mut ratios));
    Ok(())
}

async fn measure(args: &Args, running: &Running, dir: &Path) -> anyhow::Result<Vec<f64>> {
    let region = &running.layout().regions[0];
    let node = &region.nodes[0];
    let snapshots = dir.join(region.name.as_str()).join(region.node_name(node)).join("replica/snapshots");
    let api = Region::new(vec![node.api_url()], Some(region.api_key.clone()))?;
    for (name, dim) in [("limits", DIM), ("beside", 1)] {
        let collection = json!({"vectors": {"size": dim, "distance": "Euclid"}});
        api.ask(0, Ask::put(&format!("/collections/{name}"), &collection)).await?.fine()?;
    }
    for first in (0..args.points).step_by(BATCH) {
        write(&api, (first..args.points.min(first + BATCH)).collect()).await?;
    }
    let pid = running.pid(0, 0).context("the node is not running")?;
    idle(pid).await?;
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let (mut with, mut without) = load(args, &api, &snapshots).await?;
        let [during, beside] = [&mut with, &mut without].map(|times| quantile(times, 0.99));
        let ratio = during.as_secs_f64() / beside.as_secs_f64();
        println!(
            "limits snapshot: round={round} samples={}+{} p99_during_ms={} p99_without_ms={} ratio={ratio:.2}",
            with.len(),
            without.len(),
            ms(during),
            ms(beside)
        );
        ratios.push(ratio);
    }
    Ok(ratios)
}

/// Search times while a snapshot is written, and while none is.
async fn load(args: &Args, api: &Region, snapshots: &Path) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (writing, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let watch = async {
        while !done.load(Ordering::Relaxed) {
            writing.store(is_writing(snapshots), Ordering::Relaxed);
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let writes = async {
        let text = "x".repeat(PAYLOAD);
        let mut every = tokio::time::interval(WRITE_EVERY);
        for id in (0..WRITTEN).cycle() {
            every.tick().await;
            if done.load(Ordering::Relaxed) {
                break;
            }
            let body = json!({"points": [{"id": id, "vector": [1.0], "payload": {"text": text}}]});
            api.ask(0, Ask::put("/collections/beside/points?wait=true", &body)).await?.fine()?;
        }
        anyhow::Ok(())
    };
    let searches = async {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for nth in 0_u32.. {
            if with.len() >= SAMPLES && without.len() >= SAMPLES {
                break;
            }
            // Open load: a search counts from when it was due.
            let due = begun + Duration::from_secs(1) * nth / args.queries;
            tokio::time::sleep_until(due.into()).await;
            let before = writing.load(Ordering::Relaxed);
            let question = json!({"query": vector(u64::from(nth) << 32), "limit": 10});
            api.ask(0, Ask::post("/collections/limits/points/query", &question)).await?.fine()?;
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

async fn write(api: &Region, ids: Vec<usize>) -> anyhow::Result<()> {
    let points: Vec<Value> = ids.iter().map(|id| json!({"id": id, "vector": vector(*id as u64)})).collect();
    api.ask(0, Ask::put("/collections/limits/points?wait=true", &json!({"points": points}))).await?.fine()?;
    Ok(())
}

fn vector(id: u64) -> Vec<f32> {
    let mut random = rand::rngs::SmallRng::seed_from_u64(id);
    (0..DIM).map(|_| random.random()).collect()
}
