//! Searches at three times the capacity of one processor, open loop: requests start on schedule, whatever earlier ones
//! take.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::server::Server;
use super::{Bound, median};

const DIM: usize = 100;
/// Above the full-scan threshold, so that `hnsw_ef` determines the search time.
const POINTS: usize = 60_000;
/// Target processor time of one search.
const SEARCH_TIME: Duration = Duration::from_millis(2);
/// Samples per 99th percentile.
const SAMPLES: f64 = 10_000.0;
/// Rounds; the median is reported.
const ROUNDS: usize = 5;
/// Concurrent searches while the peak rate is measured.
const CONCURRENCY: usize = 4;
/// Time after a burst within which latency must be normal again.
const RECOVERY: Duration = Duration::from_secs(2);

/// Conditions of a slow count, and the processor time after which its client disconnects.
const CONDITIONS: usize = 1_000;
const DISCONNECT_AFTER: Duration = Duration::from_millis(30);

/// Results of one load.
#[derive(Default)]
struct LoadResult {
    /// Server time of accepted searches, in seconds, from the response body.
    accepted: Vec<f64>,
    /// Client time of refused searches, in seconds.
    refused: Vec<f64>,
    /// Number of searches with another outcome.
    failed: usize,
}

pub(super) async fn run() -> anyhow::Result<()> {
    let server = Server::start_pinned().await?;
    let queries = fill(&server).await?;
    server.idle().await?;
    let ef = calibrate(&server, &queries).await?;
    let load = Load { server: &server, queries: &queries, ef };
    let (mut lost, mut slower, mut refusals, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let peak = load.peak(Duration::from_secs(5)).await?;
        let duration = |rate: f64| Duration::from_secs_f64(SAMPLES / rate);
        let mut calm = load.open_loop(peak * 0.3, duration(peak * 0.3)).await?;
        let burst_duration = duration(peak);
        let mut burst = load.open_loop(peak * 3.0, burst_duration).await?;
        tokio::time::sleep(RECOVERY).await;
        let mut after_burst = load.open_loop(peak * 0.3, Duration::from_secs(5)).await?;
        ensure!(burst.failed + calm.failed + after_burst.failed == 0, "searches failed with other statuses than 429");
        let rate = burst.accepted.len() as f64 / burst_duration.as_secs_f64();
        let baseline_p99 = p99(&mut calm.accepted);
        println!(
            "     peak {peak:.0}/s; at 30 %: p99 {:.1} ms; at 300 %: {rate:.0}/s, p99 {:.1} ms, {} refused, p99 {:.1} ms",
            baseline_p99 * 1e3,
            p99(&mut burst.accepted) * 1e3,
            burst.refused.len(),
            p99(&mut burst.refused) * 1e3
        );
        lost.push(1.0 - rate / peak);
        slower.push(p99(&mut burst.accepted) / baseline_p99);
        refusals.push(p99(&mut burst.refused) * 1e3);
        after.push(p99(&mut after_burst.accepted) / baseline_p99 + after_burst.refused.len() as f64);
    }
    let leftover_ms = cost_after_disconnect(&server).await?;
    server.stop().await;
    let print = |name: &str, mut samples: Vec<f64>, max| {
        Bound { name: name.into(), measured: median(&mut samples), max }.print();
    };
    print("at 3 x capacity: share of the peak that is lost", lost, 0.1);
    print("at 3 x capacity: p99 of accepted searches, times that at 30 %", slower, 5.0);
    print("at 3 x capacity: p99 of refusals at the client, ms", refusals, 100.0);
    print("processor time of a slow count after its client disconnected, ms", leftover_ms, 10.0);
    print("2 s after it: p99, times that before; a refusal counts as 1", after, 2.0);
    Ok(())
}

/// Processor time of a slow count after its client disconnects, in milliseconds.
async fn cost_after_disconnect(server: &Server) -> anyhow::Result<Vec<f64>> {
    let conditions: Vec<Value> =
        (0..CONDITIONS).map(|nth| json!({"key": format!("k{nth}"), "match": {"value": nth}})).collect();
    let body = json!({"exact": true, "filter": {"should": conditions}});
    let start = server.thread_cpu_time()?;
    server
        .region
        .send_to(0, crate::client::ApiRequest::post("/collections/c/points/count", &body))
        .await?
        .error_for_status()?;
    let full_cost = server.thread_cpu_time()?.saturating_sub(start);
    ensure!(full_cost > 4 * DISCONNECT_AFTER, "the count takes only {full_cost:?}");
    println!("     a count of {CONDITIONS} conditions takes {full_cost:?} of processor time");
    let address = server.url.trim_start_matches("http://");
    let (key, body) = (&server.key, body.to_string());
    let head = format!(
        "POST /collections/c/points/count HTTP/1.1\r\nhost: {address}\r\napi-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut leftover_ms = Vec::new();
    for _ in 0..ROUNDS {
        server.idle().await?;
        let idle = cpu_seconds_per_second(server).await?;
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(body.as_bytes()).await?;
        let start = server.thread_cpu_time()?;
        while server.thread_cpu_time()?.saturating_sub(start) < DISCONNECT_AFTER {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(connection);
        leftover_ms.push(1e3 * (cpu_seconds_per_second(server).await? - idle).max(0.0));
    }
    Ok(leftover_ms)
}

/// Processor time during the next second, in seconds.
async fn cpu_seconds_per_second(server: &Server) -> anyhow::Result<f64> {
    let start = server.thread_cpu_time()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(server.thread_cpu_time()?.saturating_sub(start).as_secs_f64())
}

async fn fill(server: &Server) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut vector = || (0..DIM).map(|_| rng.random::<f32>()).collect::<Vec<f32>>();
    server.create("c", DIM).await?;
    for first in (0..POINTS).step_by(500) {
        let points = (first..first + 500).map(|id| json!({"id": id, "vector": vector()})).collect();
        server.upsert("c", points).await?;
    }
    Ok((0..200).map(|_| vector()).collect())
}

/// The beam width (`hnsw_ef`) at which a search takes [`SEARCH_TIME`].
async fn calibrate(server: &Server, queries: &[Vec<f32>]) -> anyhow::Result<usize> {
    for ef in (6..=12).map(|power| 1usize << power) {
        let load = Load { server, queries, ef };
        let start = server.cpu_time()?;
        for nth in 0..200 {
            load.search(nth).await?;
        }
        if (server.cpu_time()? - start) / 200 >= SEARCH_TIME {
            return Ok(ef);
        }
    }
    Ok(4_096)
}

struct Load<'a> {
    server: &'a Server,
    queries: &'a [Vec<f32>],
    ef: usize,
}

impl Load<'_> {
    /// Status, and the server time (200) or the client time (otherwise) in seconds.
    async fn search(&self, nth: usize) -> anyhow::Result<(u16, f64)> {
        let body =
            json!({"query": self.queries[nth % self.queries.len()], "limit": 10, "params": {"hnsw_ef": self.ef}});
        let start = Instant::now();
        let api_request = crate::client::ApiRequest::post("/collections/c/points/query", &body);
        let response = self.server.region.send_to(0, api_request).await?;
        match response.status {
            200 => Ok((200, response.body.get("time").and_then(Value::as_f64).context("a time")?)),
            status => Ok((status, start.elapsed().as_secs_f64())),
        }
    }

    /// Searches per second with a few always in flight (closed loop).
    async fn peak(&self, duration: Duration) -> anyhow::Result<f64> {
        let start = Instant::now();
        let all = (0..CONCURRENCY).map(|first| self.closed_loop(first, start, duration));
        let done = futures::future::try_join_all(all).await?;
        Ok(done.into_iter().sum::<usize>() as f64 / duration.as_secs_f64())
    }

    async fn closed_loop(&self, first: usize, start: Instant, duration: Duration) -> anyhow::Result<usize> {
        let mut done = 0;
        while start.elapsed() < duration {
            done += usize::from(self.search(first * 7_919 + done).await?.0 == 200);
        }
        Ok(done)
    }

    /// Starts `rate` searches per second on schedule.
    async fn open_loop(&self, rate: f64, duration: Duration) -> anyhow::Result<LoadResult> {
        let (start, mut result, mut in_flight) = (Instant::now(), LoadResult::default(), FuturesUnordered::new());
        let record = |result: &mut LoadResult, response: anyhow::Result<(u16, f64)>| match response {
            Ok((200, elapsed)) => result.accepted.push(elapsed),
            Ok((429, elapsed)) => result.refused.push(elapsed),
            _ => result.failed += 1,
        };
        for nth in 0.. {
            let due = start + Duration::from_secs_f64(nth as f64 / rate);
            if due - start >= duration {
                break;
            }
            let wait = sleep_until(due);
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    Some(response) = in_flight.next() => record(&mut result, response),
                }
            }
            in_flight.push(self.search(nth));
        }
        while let Some(response) = in_flight.next().await {
            record(&mut result, response);
        }
        Ok(result)
    }
}

fn p99(seconds: &mut [f64]) -> f64 {
    if seconds.is_empty() {
        return 0.0;
    }
    seconds.sort_by(f64::total_cmp);
    seconds[(seconds.len() * 99 / 100).min(seconds.len() - 1)]
}
