//! Deltas: what one region tells another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    BehaviorVersion, CollectionDef, CollectionUid, Epoch, Hlc, OriginShard, PointId, Position, Seq, Traceparent,
    Vectors, WriteRef,
};

/// Longest payload of a point: the largest point still fits a Kafka record of a few MB.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// What a user attached to a point: the text of one JSON object with sorted keys, checked at the door. Empty means none.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(pub Arc<str>);

impl Payload {
    /// True when nothing is attached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The behavior version that storing the payload needs.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        #[cfg(debug_assertions)]
        {
            crate::artificial::needed_by_payload(&self.0)
        }
        #[cfg(not(debug_assertions))]
        {
            BehaviorVersion::FIRST
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One change: what a sequence number counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Puts a point in place of whatever stood under its id.
    Upsert {
        /// Where.
        collection: CollectionUid,
        /// Which point.
        point: PointId,
        /// Normalised already where the distance is Cosine.
        vectors: Vectors,
        /// What is attached.
        payload: Payload,
    },
    /// Removes a point; one that is not there is no error.
    Delete {
        /// Where.
        collection: CollectionUid,
        /// Which point.
        point: PointId,
    },
    /// Defines a collection under its uid.
    CreateCollection {
        /// The uid that shard 1 gave it.
        uid: CollectionUid,
        /// What it is.
        def: CollectionDef,
    },
    /// Ends a collection; later changes that name the uid do nothing.
    DropCollection {
        /// Which.
        uid: CollectionUid,
    },
    /// Changes nothing: the place of a conditional change whose condition did not hold.
    Nothing,
}

impl Op {
    /// The behavior version that applying the change needs, in its own region and in others.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Upsert { payload, .. } => payload.needs(),
            Self::Delete { .. } | Self::Nothing => BehaviorVersion::FIRST,
            Self::CreateCollection { .. } | Self::DropCollection { .. } => BehaviorVersion::FIRST,
        }
    }
}

/// One committed change of an origin shard, at its place in that shard's delta log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Where it was accepted.
    pub origin: OriginShard,
    /// Incarnation of the origin's log.
    pub epoch: Epoch,
    /// Place in the origin's log, without gaps.
    pub seq: Seq,
    /// When it was stamped: the merge key, with region, shard and seq behind it.
    pub committed_at: Hlc,
    /// The change.
    pub op: Op,
    /// Which change of which client's request it is.
    pub write: WriteRef,
    /// The request that it goes back to. Nothing that is stored depends on it.
    pub trace: Option<Traceparent>,
}

impl Delta {
    /// Its place in the origin's log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }

    /// The behavior version that a region needs to merge it. A change of a kind that version `n` introduces needs `n`, and is
    /// admitted only after every region of the group has finalized `n`.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        self.op.needs()
    }
}
