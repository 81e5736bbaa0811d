//! Replies: the result or the refusal of a request, and how fresh it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Answer, CollectionDef, CollectionUid, PrimaryTerm, RegionName, ShardNumber, VersionVector};

/// The reply to a [`Request`](super::Request).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The result, or why there is none.
    pub body: Result<ReplyBody, Refusal>,
    /// How fresh the result is.
    pub freshness: Freshness,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// Of a create: `true`. Of a drop: whether the collection existed.
    Done(bool),
    /// Of a list: the collections, ordered by name.
    Collections(Vec<CollectionDef>),
    /// Of a describe.
    Collection(CollectionReport),
    /// Of a write: the largest sequence that it was given.
    Written(u64),
    /// Of a read.
    Answer(Answer),
    /// Of a write at a secondary region: as `Written`, but the write may not be visible in this region yet.
    Acknowledged(u64),
}

/// State of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionReport {
    /// Its uid.
    pub uid: CollectionUid,
    /// Its definition.
    pub def: CollectionDef,
    /// Live points over all shards.
    pub points: u64,
    /// Indexed vectors, over all shards and vector names.
    pub indexed: u64,
    /// Shards of the region.
    pub shards: u16,
    /// Voters of each shard.
    pub replicas: u16,
}

/// How fresh a reply is. Sent with every reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// Upper bound on the age of what the answer may miss; [`Duration::MAX`] when unknown.
    pub staleness: Duration,
    /// The region that answered.
    pub served_region: RegionName,
    /// Positions that the answer covers.
    pub token: VersionVector,
    /// The demand was not met: `Stale-Result: true`.
    pub stale: bool,
    /// How the demand was met.
    pub outcome: Outcome,
}

/// How a demand for freshness ended; the label of `freshness_outcome_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Met at once.
    Fresh,
    /// Met after waiting.
    Waited,
    /// Answered by the primary region.
    Redirected,
    /// Not met; the answer is marked stale.
    Stale,
    /// Not met; the request was refused.
    Failed,
}

/// Why a request was refused, and so what the client should do. The HTTP status is in parentheses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong (400).
    #[error("{0}")]
    BadInput(String),
    /// An object that it names does not exist (404).
    #[error("{0}")]
    NotFound(String),
    /// An object that it would create exists (409).
    #[error("{0}")]
    AlreadyExists(String),
    /// Some shards did not answer. A change certainly did not take place; it may be repeated (503).
    #[error("{reason}{}", unanswered(.shards))]
    Unavailable {
        /// Which shards.
        shards: Vec<ShardNumber>,
        /// Why.
        reason: String,
    },
    /// The client should slow down and repeat (429).
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// The region is staler than the demand and the fallbacks end with `fail` (503 with `Retry-After`).
    #[error("the region is {staleness_ms} ms behind, which is more than was asked for")]
    TooStale {
        /// Upper bound; `u64::MAX` when unknown.
        staleness_ms: u64,
    },
    /// Another region is primary (421).
    #[error("this region is not primary; {primary} is believed to be")]
    Misdirected {
        /// The region believed primary.
        primary: RegionName,
        /// The primary term of that belief.
        term: PrimaryTerm,
    },
    /// Disk or memory is full: reads and deletes go on, other writes do not (507).
    #[error("the disk is full, or memory is: the shard takes deletes, no other writes")]
    ReadOnly,
    /// A read was not answered in time (408).
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A defect of the server that this request triggers (500).
    #[error("{0}")]
    Internal(String),
    /// The write may have taken place, in part or in full, or may still do so (500: clients and meshes repeat a 503).
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
}

/// Which shards did not answer, if that is the reason.
fn unanswered(shards: &[ShardNumber]) -> String {
    let numbers: Vec<String> = shards.iter().map(ToString::to_string).collect();
    if shards.is_empty() { String::new() } else { format!("; no answer from shard {}", numbers.join(", ")) }
}

impl Refusal {
    /// Whether nothing was done and the request may be repeated, here or elsewhere. Clients and meshes do so.
    #[must_use]
    pub fn invites_repeat(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Overloaded(_) | Self::TooStale { .. } | Self::ReadOnly => true,
            Self::Misdirected { .. } => true,
            Self::BadInput(_) | Self::NotFound(_) | Self::AlreadyExists(_) => false,
            Self::Timeout(_) | Self::Internal(_) | Self::OutcomeUnknown(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_without_an_answer_are_named_by_number() {
        let shards = [1, 3].map(|number| ShardNumber::new(number).unwrap());
        assert_eq!(unanswered(&shards), "; no answer from shard 1, 3");
        assert_eq!(unanswered(&[]), "");
    }
}
