//! State shared by all steps of the demo.

use std::time::Duration;

use anyhow::Context;
use meridian_model::{RegionName, ShardNumber};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::write_history::{Op, Outcome, WriteHistory};
use crate::client::{ApiRequest, RegionClient, RequestError, RoundRobin};
use crate::local::LocalCluster;
use crate::vectors::Vectors;

/// The collection of the demo.
pub const COLLECTION: &str = "words";
/// Both regions have one shard, so their digests are comparable.
pub const SHARD: u16 = 1;
/// Interval between two polls of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The demo's regions, word vectors and write history.
pub struct DemoContext {
    pub cluster: LocalCluster,
    pub primary: RegionClient,
    pub secondary: RegionClient,
    pub words: Vectors,
    pub history: WriteHistory,
    pub round_robin: RoundRobin,
}

/// Replication state that a node reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Newest applied sequence of the primary region's shard.
    pub seq: u64,
    pub digest: String,
    pub staleness_ms: Option<u64>,
}

impl DemoContext {
    pub fn new(cluster: LocalCluster, words: Vectors) -> anyhow::Result<Self> {
        let region = |at: usize| {
            let region = cluster.layout().regions.get(at).context("two regions")?;
            RegionClient::new(region.nodes.iter().map(|node| node.api_url()).collect(), Some(region.api_key.clone()))
        };
        let (primary, secondary) = (region(0)?, region(1)?);
        Ok(Self {
            primary,
            secondary,
            cluster,
            words,
            history: WriteHistory::default(),
            round_robin: RoundRobin::default(),
        })
    }

    /// Name of the region with this index; 0 is the primary region.
    pub fn region_name(&self, at: usize) -> &RegionName {
        &self.cluster.layout().regions[at].name
    }

    pub fn shard() -> ShardNumber {
        ShardNumber::new(SHARD).expect("1 is a shard number")
    }

    /// Path below the demo's collection.
    pub fn path(suffix: &str) -> String {
        format!("/collections/{COLLECTION}{suffix}")
    }

    /// JSON of one point: the vector of row `row` (modulo the number of words), the word and the counter.
    pub fn point(&self, id: u64, row: usize, op: Op) -> Value {
        let row = row % self.words.len();
        json!({
            "id": id,
            "vector": self.words.row(row),
            "payload": {"word": self.words.names[row], "counter": op.counter},
        })
    }

    /// Writes one point through the primary region and records the outcome. `None` when the history allows no write now.
    pub async fn write(&self, id: u64, row: usize, delete: bool) -> Option<Outcome> {
        let op = self.history.begin(id, delete)?;
        let turn = self.round_robin.next();
        let response = if delete {
            self.primary.send(turn, ApiRequest::post(&Self::path("/points/delete"), &json!({"points": [id]}))).await
        } else {
            let body = json!({"points": [self.point(id, row, op)]});
            self.primary.send(turn, ApiRequest::put(&Self::path("/points"), &body)).await
        };
        let outcome = classify(&response.map(|response| response.status));
        self.history.end(id, op, outcome);
        Some(outcome)
    }

    /// Reads what a node of a region has applied of the primary region's shard.
    pub async fn position(&self, region: &RegionClient, node: usize) -> anyhow::Result<Position> {
        let body = region.send_to(node, ApiRequest::get("/api/v1/consistency")).await?.error_for_status()?.body;
        let origin = body.pointer("/origins/0").context("nothing applied yet")?;
        let number = |key: &str| origin.get(key).and_then(Value::as_u64);
        let digest = body.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
        Ok(Position { seq: number("seq").context("no seq")?, digest, staleness_ms: number("staleness_ms") })
    }

    /// Waits until every node of both regions reports the same position in two polls; returns it.
    ///
    /// # Errors
    /// When the nodes do not agree within `timeout`; lists their positions.
    pub async fn wait_for_convergence(&self, timeout: Duration) -> anyhow::Result<Position> {
        let deadline = Instant::now() + timeout;
        let mut before = None;
        loop {
            let mut observed = Vec::new();
            for region in [&self.primary, &self.secondary] {
                for node in 0..region.node_count() {
                    observed.push(self.position(region, node).await.map(|at| (at.seq, at.digest)));
                }
            }
            let all: Result<Vec<_>, _> = observed.into_iter().collect();
            if let Ok(all) = &all
                && let Some(first) = all.first()
                && all.iter().all(|position| position == first)
            {
                if before.as_ref() == Some(first) {
                    return Ok(Position { seq: first.0, digest: first.1.clone(), staleness_ms: None });
                }
                before = Some(first.clone());
            } else {
                before = None;
            }
            if Instant::now() >= deadline {
                let text = all.map(|all| {
                    format!("{:?}", all.iter().map(|(seq, digest)| (seq, &digest[..8])).collect::<Vec<_>>())
                });
                anyhow::bail!(
                    "the replicas do not agree after {timeout:?}: {}",
                    text.unwrap_or_else(|error| format!("{error:#}"))
                );
            }
            // Nodes report a state that is up to 100 ms old; a position that holds over two polls is current.
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Polls until `done` returns true; returns the time it took.
    ///
    /// # Errors
    /// When the time is over; the source is the last error of `done`.
    pub async fn poll_until<R: Future<Output = anyhow::Result<bool>>>(
        what: &str,
        timeout: Duration,
        done: impl Fn() -> R,
    ) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let observed = done().await;
            if matches!(observed, Ok(true)) {
                return Ok(start.elapsed());
            }
            if start.elapsed() >= timeout {
                return Err(observed.err().unwrap_or_else(|| anyhow::anyhow!("the condition is not met")))
                    .context(format!("wait {timeout:?} for {what}"));
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Classifies the response to a write, or the lack of one.
pub fn classify(status: &Result<u16, RequestError>) -> Outcome {
    match status {
        Ok(200) => Outcome::Acknowledged,
        // A node's 503 guarantees that nothing was executed, a proxy's does not. Other 5xx leave the outcome open.
        Ok(408 | 500..) | Err(RequestError::Unknown(_)) => Outcome::Unknown,
        Ok(_) | Err(RequestError::NotSent) => Outcome::Refused,
    }
}

/// Prints a heading.
pub fn heading(text: &str) {
    println!("\n── {text} {}", "─".repeat(72usize.saturating_sub(text.chars().count())));
}
