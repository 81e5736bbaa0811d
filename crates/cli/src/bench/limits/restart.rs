use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::median;
use crate::client::{Ask, Region};
use crate::local::{Brokers, Layout, Options, RegionSpec, Running, Signals, send_signal};

const DIM: usize = 100;
/// Points of one request.
const BATCH: usize = 500;
/// Between two questions to a node that does not answer yet.
const PAUSE: Duration = Duration::from_millis(5);
/// For an answer to come back at all.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many, of what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Vectors, of 100 dimensions.
    #[arg(long, default_value_t = 100_000)]
    points: usize,
    /// Times that the nodes are killed: the first right after the last write.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    for (replicas, bound) in [(1, 2.0), (3, 4.0)] {
        let mut took = measure(&args, replicas).await?;
        let first = took.first().copied().unwrap_or(f64::NAN);
        let middle = median(&mut took);
        println!(
            "limits restart: points={} dim={DIM} replicas={replicas} after_last_write_s={first:.2} median_s={middle:.2} bound_s={bound:.1}",
            args.points
        );
    }
    Ok(())
}

async fn measure(args: &Args, replicas: u16) -> anyhow::Result<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let spec: RegionSpec = format!("limits:1x{replicas}").parse()?;
    let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
    let options = Options { binary: None, restart: true, brokers: Brokers::default(), wires: Vec::new() };
    let mut signals = Signals::new()?;
    let running = Running::start(layout, &options, signals.stopped()).await?;
    let took = rounds(args, &running).await;
    running.stop().await;
    took
}

async fn rounds(args: &Args, running: &Running) -> anyhow::Result<Vec<f64>> {
    let region = &running.layout().regions[0];
    let nodes: Vec<String> = region.nodes.iter().map(|node| node.api_url()).collect();
    let api = Region::new(nodes, Some(region.api_key.clone()))?;
    let expected = fill(&api, args.points).await?;
    let mut took = Vec::new();
    for round in 0..args.rounds {
        let mut pids: Vec<_> = (0..region.nodes.len()).map(|node| running.pid_now(0, node)).collect();
        for pid in pids.iter().flatten() {
            let pid = pid.borrow().context("a node is down")?;
            send_signal(pid, Signal::KILL)?;
        }
        let back = pids.iter_mut().flatten().enumerate().map(async |(node, pid)| {
            pid.wait_for(Option::is_none).await?;
            pid.wait_for(Option::is_some).await?;
            let begun = Instant::now();
            answered(&api, node, &expected).await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        });
        let slowest = try_join_all(back).await?.into_iter().fold(0.0, f64::max);
        println!("limits restart: round={round} replicas={} took_s={slowest:.2}", region.nodes.len());
        took.push(slowest);
    }
    Ok(took)
}

/// Writes the points; a question, and the ids that answer it.
async fn fill(api: &Region, points: usize) -> anyhow::Result<Vec<Value>> {
    let collection = json!({"vectors": {"size": DIM, "distance": "Euclid"}});
    api.ask(0, Ask::put("/collections/limits", &collection)).await?.fine()?;
    let mut nearest: Vec<(f64, usize)> = Vec::new();
    let question = vector(usize::MAX);
    for first in (0..points).step_by(BATCH) {
        let ids = first..points.min(first + BATCH);
        for id in ids.clone() {
            let distance = vector(id).iter().zip(&question).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            nearest.push((distance, id));
        }
        nearest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        nearest.truncate(10);
        let batch: Vec<Value> = ids.map(|id| json!({"id": id, "vector": vector(id), "payload": {"n": id}})).collect();
        let body = json!({"points": batch});
        api.ask(0, Ask::put("/collections/limits/points?wait=true", &body)).await?.fine()?;
    }
    Ok(nearest.into_iter().map(|(_, id)| json!(id)).collect())
}

/// Asks one node until it gives the right answer.
async fn answered(api: &Region, node: usize, expected: &[Value]) -> anyhow::Result<()> {
    let question = json!({"query": vector(usize::MAX), "limit": 10, "params": {"exact": true}});
    let begun = Instant::now();
    loop {
        let answer = api.ask_one(node, Ask::post("/collections/limits/points/query", &question)).await;
        if let Ok(answer) = answer
            && answer.status == 200
        {
            let points = answer.body.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
            let found: Vec<&Value> = points.iter().map(|point| &point["id"]).collect();
            anyhow::ensure!(
                found == expected.iter().collect::<Vec<_>>(),
                "a wrong answer: {found:?}, not {expected:?}"
            );
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "node {node} gives no answer");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The vector of an id, the same at every call: uniform in [0, 1).
fn vector(id: usize) -> Vec<f32> {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::SmallRng::seed_from_u64(id as u64);
    (0..DIM).map(|_| random.random()).collect()
}
