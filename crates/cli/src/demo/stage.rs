//! What all scenes of the demo share: the regions, the words, the ledger.

use std::time::Duration;

use anyhow::Context;
use meridian_model::{RegionName, ShardNumber};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::ledger::{Ledger, Op, Outcome};
use crate::client::{Ask, AskError, Region, Turn};
use crate::local::Running;
use crate::vectors::Vectors;

/// The collection of the demo.
pub const COLLECTION: &str = "words";
/// Both regions have one shard: their digests can be compared as they are.
pub const SHARD: u16 = 1;
/// Between two looks at something that changes by itself.
const LOOK: Duration = Duration::from_millis(20);

/// The demo's regions, words and ledger.
pub struct Stage {
    pub running: Running,
    pub primary: Region,
    pub other: Region,
    pub words: Vectors,
    pub ledger: Ledger,
    pub turn: Turn,
}

/// What a node says of its consistency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Largest sequence of the primary's shard that is applied.
    pub seq: u64,
    pub digest: String,
    pub staleness_ms: Option<u64>,
}

impl Stage {
    pub fn new(running: Running, words: Vectors) -> anyhow::Result<Self> {
        let region = |at: usize| {
            let region = running.layout().regions.get(at).context("two regions")?;
            Region::new(region.nodes.iter().map(|node| node.api_url()).collect(), Some(region.api_key.clone()))
        };
        let (primary, other) = (region(0)?, region(1)?);
        Ok(Self { primary, other, running, words, ledger: Ledger::default(), turn: Turn::default() })
    }

    /// Name of the region at a place.
    pub fn name(&self, at: usize) -> &RegionName {
        &self.running.layout().regions[at].name
    }

    pub fn shard() -> ShardNumber {
        ShardNumber::new(SHARD).expect("1 is a shard number")
    }

    /// Path below the collection.
    pub fn path(tail: &str) -> String {
        format!("/collections/{COLLECTION}{tail}")
    }

    /// One point as the API takes it: the vector of row `row`.
    pub fn point(&self, id: u64, row: usize, op: Op) -> Value {
        let row = row % self.words.len();
        json!({
            "id": id,
            "vector": self.words.row(row),
            "payload": {"word": self.words.names[row], "counter": op.counter},
        })
    }

    /// Writes one point through the primary region and books it.
    pub async fn write(&self, id: u64, row: usize, delete: bool) -> Option<Outcome> {
        let op = self.ledger.begin(id, delete)?;
        let turn = self.turn.next();
        let answer = if delete {
            self.primary.ask(turn, Ask::post(&Self::path("/points/delete"), &json!({"points": [id]}))).await
        } else {
            let body = json!({"points": [self.point(id, row, op)]});
            self.primary.ask(turn, Ask::put(&Self::path("/points"), &body)).await
        };
        let outcome = outcome(&answer.map(|answer| answer.status));
        self.ledger.end(id, op, outcome);
        Some(outcome)
    }

    /// What a node of a region has applied of the primary's shard.
    pub async fn position(&self, region: &Region, node: usize) -> anyhow::Result<Position> {
        let body = region.ask_one(node, Ask::get("/api/v1/consistency")).await?.fine()?.body;
        let origin = body.pointer("/origins/0").context("nothing applied yet")?;
        let number = |key: &str| origin.get(key).and_then(Value::as_u64);
        let digest = body.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
        Ok(Position { seq: number("seq").context("no seq")?, digest, staleness_ms: number("staleness_ms") })
    }

    /// Waits until every node of both regions is at one position and stays there; returns it.
    ///
    /// # Errors
    /// When that is not so within `patience`; tells the positions.
    pub async fn quiet(&self, patience: Duration) -> anyhow::Result<Position> {
        let until = Instant::now() + patience;
        let mut before = None;
        loop {
            let mut seen = Vec::new();
            for region in [&self.primary, &self.other] {
                for node in 0..region.nodes() {
                    seen.push(self.position(region, node).await.map(|at| (at.seq, at.digest)));
                }
            }
            let all: Result<Vec<_>, _> = seen.into_iter().collect();
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
            if Instant::now() >= until {
                let text = all.map(|all| {
                    format!("{:?}", all.iter().map(|(seq, digest)| (seq, &digest[..8])).collect::<Vec<_>>())
                });
                anyhow::bail!(
                    "the replicas do not agree after {patience:?}: {}",
                    text.unwrap_or_else(|fault| format!("{fault:#}"))
                );
            }
            // What a node tells of itself is up to 100 ms old: a position that holds over two looks is its own.
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Looks until `done` says so, or `patience` is over; returns the time it took.
    ///
    /// # Errors
    /// When patience is over.
    pub async fn until<R: Future<Output = anyhow::Result<bool>>>(
        what: &str,
        patience: Duration,
        done: impl Fn() -> R,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let seen = done().await;
            if matches!(seen, Ok(true)) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() >= patience {
                return Err(seen.err().unwrap_or_else(|| anyhow::anyhow!("it is not so")))
                    .context(format!("wait {patience:?} for {what}"));
            }
            sleep(LOOK).await;
        }
    }
}

/// What an answer to a write, or its absence, says.
pub fn outcome(status: &Result<u16, AskError>) -> Outcome {
    match status {
        Ok(200) => Outcome::Acknowledged,
        // A 503 of a node says that nothing was done, but one of a proxy does not. All others leave it open.
        Ok(408 | 500..) | Err(AskError::Unknown(_)) => Outcome::Unknown,
        Ok(_) | Err(AskError::NotSent) => Outcome::Refused,
    }
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n── {text} {}", "─".repeat(72usize.saturating_sub(text.chars().count())));
}
