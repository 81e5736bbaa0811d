//! What a client asks and gets, after the door: typed, checked, and the same whether it stays in this pod, goes to another
//! pod, or goes to another region.

use std::time::Duration;

use meridian_model::{
    Answer, CollectionDef, CollectionName, CollectionUid, Consistency, Filter, Payload, PointId, PrimaryTerm, Query,
    RegionName, RequiredFreshness, ShardNumber, Vectors, VersionVector, WriteId,
};
use serde::{Deserialize, Serialize};

/// One request of one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Given by the first gateway; a repeat of a write under the same id is answered, not applied again.
    pub id: WriteId,
    /// What is asked.
    pub body: Body,
    /// How fresh a read must be. Writes ignore it.
    pub demand: Demand,
    /// W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// Time left for the answer, from when the request is handed over.
    pub timeout: Duration,
    /// Of a change at a secondary region: how long its answer waits, from when the request is handed over, until the change is
    /// visible there; `None` answers when the primary region has acknowledged it.
    pub wait: Option<Duration>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Defines a collection; one of that name must not exist.
    CreateCollection(CollectionDef),
    /// Ends a collection; answers whether one of that name existed.
    DropCollection(CollectionName),
    /// All collections.
    ListCollections,
    /// One collection, with its counts over all shards.
    DescribeCollection(CollectionName),
    /// Changes points, in order within a point.
    Write {
        /// Where.
        collection: CollectionName,
        /// Not empty.
        ops: Vec<PointOp>,
    },
    /// Deletes the points that match; answers with the largest sequence of a delete, 0 when there was none. Not to be
    /// repeated when its outcome is unknown: evaluated again it would delete what was written since.
    DeleteByFilter {
        /// Where.
        collection: CollectionName,
        /// Which points.
        filter: Filter,
    },
    /// Reads points.
    Read {
        /// Where.
        collection: CollectionName,
        /// What.
        query: Query,
    },
}

impl Body {
    /// Whether it changes anything: only the primary region answers it.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self {
            Self::CreateCollection(_) | Self::DropCollection(_) | Self::Write { .. } | Self::DeleteByFilter { .. } => {
                true
            }
            Self::ListCollections | Self::DescribeCollection(_) | Self::Read { .. } => false,
        }
    }
}

/// A change of one point as a client states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PointOp {
    /// Puts a point in place of whatever stood under its id.
    Upsert {
        /// Which point.
        point: PointId,
        /// Finite numbers; dimensions are checked by the shard leader.
        vectors: Vectors,
        /// What is attached.
        payload: Payload,
    },
    /// Removes a point; one that is not there is no error.
    Delete {
        /// Which point.
        point: PointId,
    },
}

impl PointOp {
    /// The point that is changed.
    #[must_use]
    pub fn point(&self) -> PointId {
        match self {
            Self::Upsert { point, .. } | Self::Delete { point } => *point,
        }
    }
}

/// How fresh an answer must be, and what to do when it is not. What is absent, the cluster's defaults decide.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// `X-Consistency`.
    pub consistency: Option<Consistency>,
    /// `X-Required-Freshness`.
    pub freshness: Option<RequiredFreshness>,
    /// Fallbacks in the order they are tried.
    pub on_stale: Option<Vec<OnStale>>,
    /// How long a wait may last.
    pub max_wait: Option<Duration>,
    /// `X-Consistency-Token`: positions that the answer must cover.
    pub token: Option<VersionVector>,
}

/// What to do when the region is behind the demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStale {
    /// Wait until it is not, where that can succeed in time.
    Wait,
    /// Ask the primary region.
    Redirect,
    /// Serve, marked `Stale-Result: true`.
    Serve,
    /// Refuse.
    Fail,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What was asked for, or why not.
    pub body: Result<ReplyBody, Refusal>,
    /// How fresh it is.
    pub freshness: Freshness,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// Of a create: done. Of a drop: whether the collection existed.
    Done(bool),
    /// Of a list, by name.
    Collections(Vec<CollectionDef>),
    /// Of a describe.
    Collection(CollectionReport),
    /// Of a write: the largest sequence it was given.
    Written(u64),
    /// Of a read.
    Answer(Answer),
    /// Of a write at a secondary region: the same, and it is not certain to be visible in this region yet.
    Acknowledged(u64),
}

/// What is known of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionReport {
    /// Its uid.
    pub uid: CollectionUid,
    /// What it was created with.
    pub def: CollectionDef,
    /// Live points over all shards.
    pub points: u64,
    /// Vectors that are in a graph already, over all shards and names.
    pub indexed: u64,
    /// Shards of the region.
    pub shards: u16,
    /// Voters of each shard.
    pub replicas: u16,
}

/// How fresh an answer is. Sent with every reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// Upper bound on the age of what the answer may miss; [`Duration::MAX`] when unknown.
    pub staleness: Duration,
    /// Where it was answered.
    pub served_region: RegionName,
    /// What the answer covers.
    pub token: VersionVector,
    /// The demand was not kept: `Stale-Result: true`.
    pub stale: bool,
    /// How the demand was met.
    pub outcome: Outcome,
}

/// How a demand for freshness ended; the label of `freshness_outcome_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Kept at once.
    Fresh,
    /// Kept after waiting.
    Waited,
    /// Answered by the primary region.
    Redirected,
    /// Served, marked stale.
    Stale,
    /// Refused.
    Failed,
}

/// Why a request was refused, and so what the client should do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Mend the request (400).
    #[error("{0}")]
    BadInput(String),
    /// What it names is not there (404).
    #[error("{0}")]
    NotFound(String),
    /// What it would create is there (409).
    #[error("{0}")]
    AlreadyExists(String),
    /// Some shards did not answer. A change certainly did not take place; it may be repeated (503).
    #[error("{reason}; shards {shards:?} did not answer")]
    Unavailable {
        /// Which shards.
        shards: Vec<ShardNumber>,
        /// Why.
        reason: String,
    },
    /// Slow down and repeat (429).
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// The region is behind the demand and the fallbacks end with `fail` (503 with `Retry-After`).
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
        /// Under which term.
        term: PrimaryTerm,
    },
    /// The disk is full, or memory is: reads and deletes go on, other writes do not (507).
    #[error("the disk is full, or memory is: the shard takes deletes, no other writes")]
    ReadOnly,
    /// The answer to a read did not come in time (408).
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A fault of ours that this very request meets (500).
    #[error("{0}")]
    Internal(String),
    /// The write may have taken place, in part or in full, or may still do so (500: clients and meshes repeat a 503).
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
}

impl Refusal {
    /// Whether it says that nothing was done and invites to ask again, here or elsewhere. Clients and meshes do so.
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
