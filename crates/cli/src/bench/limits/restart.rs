use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::median;
use crate::client::{ApiRequest, RegionClient};
use crate::local::{Brokers, Layout, LocalCluster, Options, RegionSpec, Signals, send_signal};

const DIM: usize = 100;
/// Points per request.
const BATCH: usize = 500;
/// Interval between two queries to a node that does not answer yet.
const RETRY_DELAY: Duration = Duration::from_millis(5);
/// Timeout until a killed node answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of `meridian bench limits restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of vectors, of 100 dimensions.
    #[arg(long, default_value_t = 100_000)]
    points: usize,
    /// Number of kills; the first follows the last write immediately.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    for (replicas, bound) in [(1, 2.0), (3, 4.0)] {
        let mut elapsed = measure(&args, replicas).await?;
        let first = elapsed.first().copied().unwrap_or(f64::NAN);
        let median_s = median(&mut elapsed);
        println!(
            "limits restart: points={} dim={DIM} replicas={replicas} after_last_write_s={first:.2} median_s={median_s:.2} bound_s={bound:.1}",
            args.points
        );
    }
    Ok(())
}

async fn measure(args: &Args, replicas: u16) -> anyhow::Result<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let spec: RegionSpec = format!("limits:1x{replicas}").parse()?;
    let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
    let options = Options { binary: None, restart: true, brokers: Brokers::default(), proxies: Vec::new() };
    let mut signals = Signals::new()?;
    let cluster = LocalCluster::start(layout, &options, signals.stopped()).await?;
    let elapsed = rounds(args, &cluster).await;
    cluster.stop().await;
    elapsed
}

async fn rounds(args: &Args, cluster: &LocalCluster) -> anyhow::Result<Vec<f64>> {
    let region = &cluster.layout().regions[0];
    let nodes: Vec<String> = region.nodes.iter().map(|node| node.api_url()).collect();
    let api = RegionClient::new(nodes, Some(region.api_key.clone()))?;
    let expected = fill(&api, args.points).await?;
    let mut elapsed = Vec::new();
    for round in 0..args.rounds {
        let mut pids: Vec<_> = (0..region.nodes.len()).map(|node| cluster.watch_pid(0, node)).collect();
        for pid in pids.iter().flatten() {
            let pid = pid.borrow().context("a node is down")?;
            send_signal(pid, Signal::KILL)?;
        }
        let restarts = pids.iter_mut().flatten().enumerate().map(async |(node, pid)| {
            pid.wait_for(Option::is_none).await?;
            pid.wait_for(Option::is_some).await?;
            let start = Instant::now();
            wait_for_answer(&api, node, &expected).await?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        });
        let slowest = try_join_all(restarts).await?.into_iter().fold(0.0, f64::max);
        println!("limits restart: round={round} replicas={} took_s={slowest:.2}", region.nodes.len());
        elapsed.push(slowest);
    }
    Ok(elapsed)
}

/// Writes the points; returns the ids of the ten nearest neighbors of the query, nearest first.
async fn fill(api: &RegionClient, points: usize) -> anyhow::Result<Vec<Value>> {
    let collection = json!({"vectors": {"size": DIM, "distance": "Euclid"}});
    api.send(0, ApiRequest::put("/collections/limits", &collection)).await?.error_for_status()?;
    let mut nearest: Vec<(f64, usize)> = Vec::new();
    let query = vector(usize::MAX);
    for first in (0..points).step_by(BATCH) {
        let ids = first..points.min(first + BATCH);
        for id in ids.clone() {
            let distance = vector(id).iter().zip(&query).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            nearest.push((distance, id));
        }
        nearest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        nearest.truncate(10);
        let batch: Vec<Value> = ids.map(|id| json!({"id": id, "vector": vector(id), "payload": {"n": id}})).collect();
        let body = json!({"points": batch});
        api.send(0, ApiRequest::put("/collections/limits/points?wait=true", &body)).await?.error_for_status()?;
    }
    Ok(nearest.into_iter().map(|(_, id)| json!(id)).collect())
}

/// Queries one node until it gives the correct response.
async fn wait_for_answer(api: &RegionClient, node: usize, expected: &[Value]) -> anyhow::Result<()> {
    let query = json!({"query": vector(usize::MAX), "limit": 10, "params": {"exact": true}});
    let start = Instant::now();
    loop {
        let response = api.send_to(node, ApiRequest::post("/collections/limits/points/query", &query)).await;
        if let Ok(response) = response
            && response.status == 200
        {
            let points = response.body.pointer("/result/points").and_then(Value::as_array).cloned().unwrap_or_default();
            let found: Vec<&Value> = points.iter().map(|point| &point["id"]).collect();
            anyhow::ensure!(
                found == expected.iter().collect::<Vec<_>>(),
                "wrong response: {found:?}, expected {expected:?}"
            );
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < ANSWER_TIMEOUT, "node {node} does not answer");
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Vector of an id, deterministic: uniform in [0, 1).
fn vector(id: usize) -> Vec<f32> {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::SmallRng::seed_from_u64(id as u64);
    (0..DIM).map(|_| random.random()).collect()
}
