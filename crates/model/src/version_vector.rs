//! What a replica has applied, per origin shard, without gaps.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Epoch, OriginShard, Seq};

/// A place in one origin shard's delta log. Epochs order before sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// Incarnation of the log.
    pub epoch: Epoch,
    /// The newest sequence of that incarnation.
    pub seq: Seq,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// Per origin shard, the newest [`Position`] applied without gaps. Positions only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionVector(BTreeMap<OriginShard, Position>);

impl VersionVector {
    /// The position reached in `origin`'s log; [`Position::default`] for one never heard of.
    #[must_use]
    pub fn position(&self, origin: &OriginShard) -> Position {
        self.0.get(origin).copied().unwrap_or_default()
    }

    /// Moves `origin` forward to `position`; one that is not ahead changes nothing.
    pub fn advance(&mut self, origin: &OriginShard, position: Position) {
        match self.0.get_mut(origin) {
            Some(held) => *held = (*held).max(position),
            None => drop(self.0.insert(origin.clone(), position)),
        }
    }

    /// Takes the larger position of every origin shard.
    pub fn merge(&mut self, other: &Self) {
        for (origin, position) in &other.0 {
            self.advance(origin, *position);
        }
    }

    /// True when everything that `other` has seen, this has seen.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, position)| self.position(origin) >= *position)
    }

    /// The origin shards heard of, in order, with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (&OriginShard, Position)> {
        self.0.iter().map(|(origin, position)| (origin, *position))
    }

    /// True when no origin shard has been heard of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(OriginShard, Position)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (OriginShard, Position)>>(positions: I) -> Self {
        let mut vv = Self::default();
        for (origin, position) in positions {
            vv.advance(&origin, position);
        }
        vv
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegionName, ShardNumber};
    use proptest::prelude::*;

    fn vectors() -> impl Strategy<Value = VersionVector> {
        let origin = (0u8..3, 1u16..4).prop_map(|(region, shard)| OriginShard {
            region: RegionName::new(&format!("r{region}")).unwrap(),
            shard: ShardNumber::new(shard).unwrap(),
        });
        let position = (1u32..3, 0u64..5).prop_map(|(epoch, seq)| Position { epoch: Epoch(epoch), seq: Seq(seq) });
        prop::collection::vec((origin, position), 0..8).prop_map(|all| all.into_iter().collect())
    }

    fn merged(a: &VersionVector, b: &VersionVector) -> VersionVector {
        let mut out = a.clone();
        out.merge(b);
        out
    }

    proptest! {
        #[test]
        fn merge_is_a_semilattice(a in vectors(), b in vectors(), c in vectors()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert!(merged(&a, &b).covers(&a));
        }

        #[test]
        fn covering_both_ways_is_equality_of_positions(a in vectors(), b in vectors()) {
            let same = a.iter().chain(b.iter()).all(|(o, _)| a.position(o) == b.position(o));
            prop_assert_eq!(a.covers(&b) && b.covers(&a), same);
        }
    }
}
