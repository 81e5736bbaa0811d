//! Three times as many searches as one processor can do, open loop: each search has its time, whatever became of those before.

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
/// More than are searched exactly, so that `hnsw_ef` says how long a search takes.
const POINTS: usize = 60_000;
/// A search takes this long on its processor.
const SEARCH: Duration = Duration::from_millis(2);
/// Samples behind a 99th percentile.
const SAMPLES: f64 = 10_000.0;
/// Rounds of which the median is told.
const ROUNDS: usize = 5;
/// Searches that wait for the peak.
const AT_ONCE: usize = 4;
/// After a burst, all is as before.
const RECOVERY: Duration = Duration::from_secs(2);

/// Conditions of a count that takes long, and the processor time that it has had when its client leaves.
const CONDITIONS: usize = 1_000;
const LEAVES_AFTER: Duration = Duration::from_millis(30);

/// What one load showed.
#[derive(Default)]
struct Seen {
    /// Of accepted searches: seconds in the server, as the answer tells.
    accepted: Vec<f64>,
    /// Of refused ones: seconds at the client.
    refused: Vec<f64>,
    /// Others.
    failed: usize,
}

pub(super) async fn run() -> anyhow::Result<()> {
    let server = Server::start_on_its_own_processor().await?;
    let queries = fill(&server).await?;
    server.idle().await?;
    let ef = calibrate(&server, &queries).await?;
    let load = Load { server: &server, queries: &queries, ef };
    let (mut lost, mut slower, mut refusals, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let peak = load.peak(Duration::from_secs(5)).await?;
        let length = |rate: f64| Duration::from_secs_f64(SAMPLES / rate);
        let mut calm = load.open(peak * 0.3, length(peak * 0.3)).await?;
        let burst_length = length(peak);
        let mut burst = load.open(peak * 3.0, burst_length).await?;
        tokio::time::sleep(RECOVERY).await;
        let mut later = load.open(peak * 0.3, Duration::from_secs(5)).await?;
        ensure!(burst.failed + calm.failed + later.failed == 0, "searches failed otherwise than by 429");
        let rate = burst.accepted.len() as f64 / burst_length.as_secs_f64();
        let usual = p99(&mut calm.accepted);
        println!(
            "     peak {peak:.0}/s; at 30 %: p99 {:.1} ms; at 300 %: {rate:.0}/s, p99 {:.1} ms, {} refused, p99 {:.1} ms",
            usual * 1e3,
            p99(&mut burst.accepted) * 1e3,
            burst.refused.len(),
            p99(&mut burst.refused) * 1e3
        );
        lost.push(1.0 - rate / peak);
        slower.push(p99(&mut burst.accepted) / usual);
        refusals.push(p99(&mut burst.refused) * 1e3);
        after.push(p99(&mut later.accepted) / usual + later.refused.len() as f64);
    }
    let left = disconnected(&server).await?;
    server.stop().await;
    let print = |what: &str, mut found: Vec<f64>, most| {
        Bound { what: what.into(), found: median(&mut found), most }.print();
    };
    print("at 3 x capacity: share of the peak that is lost", lost, 0.1);
    print("at 3 x capacity: p99 of accepted searches, times that at 30 %", slower, 5.0);
    print("at 3 x capacity: p99 of refusals at the client, ms", refusals, 100.0);
    print("processor time of a slow count after its client disconnected, ms", left, 10.0);
    print("2 s after it: p99, times that before; a refusal counts as 1", after, 2.0);
    Ok(())
}

/// Milliseconds of processor time that a count of many conditions uses once its client is gone.
async fn disconnected(server: &Server) -> anyhow::Result<Vec<f64>> {
    let conditions: Vec<Value> =
        (0..CONDITIONS).map(|nth| json!({"key": format!("k{nth}"), "match": {"value": nth}})).collect();
    let body = json!({"exact": true, "filter": {"should": conditions}});
    let begun = server.processor_time_of_threads()?;
    server.region.ask_one(0, crate::client::Ask::post("/collections/c/points/count", &body)).await?.fine()?;
    let whole = server.processor_time_of_threads()?.saturating_sub(begun);
    ensure!(whole > 4 * LEAVES_AFTER, "a count takes {whole:?}: too little to leave it");
    println!("     a count of {CONDITIONS} conditions takes {whole:?} of processor time");
    let address = server.url.trim_start_matches("http://");
    let (key, body) = (&server.key, body.to_string());
    let head = format!(
        "POST /collections/c/points/count HTTP/1.1\r\nhost: {address}\r\napi-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        server.idle().await?;
        let idle = over_a_second(server).await?;
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(body.as_bytes()).await?;
        let begun = server.processor_time_of_threads()?;
        while server.processor_time_of_threads()?.saturating_sub(begun) < LEAVES_AFTER {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(connection);
        left.push(1e3 * (over_a_second(server).await? - idle).max(0.0));
    }
    Ok(left)
}

/// Seconds of processor time that it uses in the next second.
async fn over_a_second(server: &Server) -> anyhow::Result<f64> {
    let begun = server.processor_time_of_threads()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(server.processor_time_of_threads()?.saturating_sub(begun).as_secs_f64())
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

/// The beam width at which a search takes [`SEARCH`].
async fn calibrate(server: &Server, queries: &[Vec<f32>]) -> anyhow::Result<usize> {
    for ef in (6..=12).map(|power| 1usize << power) {
        let load = Load { server, queries, ef };
        let begun = server.processor_time()?;
        for nth in 0..200 {
            load.search(nth).await?;
        }
        if (server.processor_time()? - begun) / 200 >= SEARCH {
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
    /// Status, and the seconds that the answer tells or, of a refusal, those that the client waited.
    async fn search(&self, nth: usize) -> anyhow::Result<(u16, f64)> {
        let body =
            json!({"query": self.queries[nth % self.queries.len()], "limit": 10, "params": {"hnsw_ef": self.ef}});
        let begun = Instant::now();
        let ask = crate::client::Ask::post("/collections/c/points/query", &body);
        let answer = self.server.region.ask_one(0, ask).await?;
        match answer.status {
            200 => Ok((200, answer.body.get("time").and_then(Value::as_f64).context("a time")?)),
            status => Ok((status, begun.elapsed().as_secs_f64())),
        }
    }

    /// Searches a second when a few are always under way.
    async fn peak(&self, length: Duration) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let all = (0..AT_ONCE).map(|first| self.one_after_the_other(first, begun, length));
        let done = futures::future::try_join_all(all).await?;
        Ok(done.into_iter().sum::<usize>() as f64 / length.as_secs_f64())
    }

    async fn one_after_the_other(&self, first: usize, begun: Instant, length: Duration) -> anyhow::Result<usize> {
        let mut done = 0;
        while begun.elapsed() < length {
            done += usize::from(self.search(first * 7_919 + done).await?.0 == 200);
        }
        Ok(done)
    }

    /// So many a second, each at its time.
    async fn open(&self, rate: f64, length: Duration) -> anyhow::Result<Seen> {
        let (begun, mut seen, mut under_way) = (Instant::now(), Seen::default(), FuturesUnordered::new());
        let keep = |seen: &mut Seen, answer: anyhow::Result<(u16, f64)>| match answer {
            Ok((200, took)) => seen.accepted.push(took),
            Ok((429, took)) => seen.refused.push(took),
            _ => seen.failed += 1,
        };
        for nth in 0.. {
            let due = begun + Duration::from_secs_f64(nth as f64 / rate);
            if due - begun >= length {
                break;
            }
            let wait = sleep_until(due);
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    Some(answer) = under_way.next() => keep(&mut seen, answer),
                }
            }
            under_way.push(self.search(nth));
        }
        while let Some(answer) = under_way.next().await {
            keep(&mut seen, answer);
        }
        Ok(seen)
    }
}

fn p99(of: &mut [f64]) -> f64 {
    if of.is_empty() {
        return 0.0;
    }
    of.sort_by(f64::total_cmp);
    of[(of.len() * 99 / 100).min(of.len() - 1)]
}
