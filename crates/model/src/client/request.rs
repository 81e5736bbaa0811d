//! Requests: what a client wants done, and how fresh a read must be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OnStale;
use crate::{
    BehaviorVersion, CollectionDef, CollectionName, Consistency, Filter, Payload, PointId, Query, RequiredFreshness,
    Vectors, VersionVector, WriteId,
};

/// One request of one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Assigned by the first gateway. A write repeated under the same id is answered, not applied again.
    pub id: WriteId,
    /// The operation.
    pub body: Body,
    /// How fresh a read must be. Writes ignore it.
    pub demand: Demand,
    /// W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// Time left for the reply, measured from when the request is handed over.
    pub timeout: Duration,
    /// For a change at a secondary region: how long the reply waits until the change is visible there, measured from when
    /// the request is handed over. `None`: the reply is sent when the primary region has acknowledged the change.
    pub wait: Option<Duration>,
}

/// The operation of a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Defines a collection; one of that name must not exist.
    CreateCollection(CollectionDef),
    /// Drops a collection; the reply says whether one of that name existed.
    DropCollection(CollectionName),
    /// Lists all collections.
    ListCollections,
    /// Describes one collection, with its counts over all shards.
    DescribeCollection(CollectionName),
    /// Changes points; changes of one point are applied in order.
    Write {
        /// The collection of the points.
        collection: CollectionName,
        /// Not empty.
        ops: Vec<PointOp>,
    },
    /// Deletes the points that match; the reply holds the largest sequence of a delete, 0 when there was none. Must not be
    /// repeated when its outcome is unknown: evaluated again it would delete what was written since.
    DeleteByFilter {
        /// The collection of the points.
        collection: CollectionName,
        /// Which points.
        filter: Filter,
    },
    /// Reads points.
    Read {
        /// The collection of the points.
        collection: CollectionName,
        /// Which points, and which of their fields.
        query: Query,
    },
}

impl Body {
    /// The behavior version that executing the operation needs. A receiver that does not know it refuses the request.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Write { ops, .. } => ops.iter().map(PointOp::needs).max().unwrap_or(BehaviorVersion::FIRST),
            Self::DeleteByFilter { filter, .. } => filter.needs(),
            Self::Read { query, .. } => query.needs(),
            Self::CreateCollection(_) | Self::DropCollection(_) => BehaviorVersion::FIRST,
            Self::ListCollections | Self::DescribeCollection(_) => BehaviorVersion::FIRST,
        }
    }

    /// Whether the operation changes anything, so that only the primary region executes it.
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
    /// Inserts a point, or replaces the one of that id.
    Upsert {
        /// Id of the point.
        point: PointId,
        /// Finite numbers. The shard leader checks names and dimensions.
        vectors: Vectors,
        /// Payload of the point.
        payload: Payload,
    },
    /// Deletes a point; one that does not exist is no error.
    Delete {
        /// Id of the point.
        point: PointId,
    },
}

impl PointOp {
    /// The behavior version that applying the change needs.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Upsert { payload, .. } => payload.needs(),
            Self::Delete { .. } => BehaviorVersion::FIRST,
        }
    }

    /// Id of the point that is changed.
    #[must_use]
    pub fn point(&self) -> PointId {
        match self {
            Self::Upsert { point, .. } | Self::Delete { point } => *point,
        }
    }
}

/// How fresh the answer to a read must be, and the fallbacks when it is not. The cluster's defaults replace what is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// `X-Consistency`.
    pub consistency: Option<Consistency>,
    /// `X-Required-Freshness`.
    pub freshness: Option<RequiredFreshness>,
    /// Fallbacks in the order in which they are tried.
    pub on_stale: Option<Vec<OnStale>>,
    /// How long [`OnStale::Wait`] may last.
    pub max_wait: Option<Duration>,
    /// `X-Consistency-Token`: positions that the answer must cover.
    pub token: Option<VersionVector>,
}
