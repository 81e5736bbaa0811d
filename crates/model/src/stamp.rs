//! Who wrote a point when: the merge key.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Delta, Epoch, Hlc, OriginShard, Position, Seq};

/// Of two writes of one point the one with the larger stamp stays: by `hlc`, then region, shard, epoch, seq.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// Where it was accepted.
    pub origin: OriginShard,
    /// Incarnation of the origin's log.
    pub epoch: Epoch,
    /// Place in the origin's log.
    pub seq: Seq,
}

impl Stamp {
    /// The stamp that a delta brings.
    #[must_use]
    pub fn of(delta: &Delta) -> Self {
        Self { hlc: delta.committed_at, origin: delta.origin.clone(), epoch: delta.epoch, seq: delta.seq }
    }

    /// Its place in the origin's log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }

    fn key(&self) -> (Hlc, &OriginShard, Epoch, Seq) {
        (self.hlc, &self.origin, self.epoch, self.seq)
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
