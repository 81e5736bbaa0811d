//! What parts know, for what is no part yet.

use std::time::Duration;

use meridian_model::{OriginShard, ShardNumber};

use super::Replica;
use crate::space;

impl Replica {
    /// Whether this replica's disk has space beyond its reserve, and its memory has room for a snapshot.
    pub(super) fn has_space(&self) -> bool {
        self.space.has_space()
    }

    /// Whether the leader may admit what makes the state grow.
    pub(crate) fn admits_growth(&self) -> bool {
        self.space.admits_growth(self.group())
    }

    /// Whether the leader may admit what needs little of the log and frees something, or changes the group.
    pub(crate) fn admits_small(&self) -> bool {
        self.space.admits_small()
    }

    pub(super) fn group(&self) -> space::Group<'_> {
        space::Group { raft: &self.raft, own: self.identity.replica, now: self.now.mono, settings: &self.settings }
    }

    pub(super) fn snapshot_frees_space(&self) -> bool {
        let (newest, bytes) = (self.snapshots.newest(), self.snapshots.bytes());
        let is_behind = self.state.applied().0 > newest;
        let reserve = || space::snapshot_reserve(bytes, newest, &self.log_bytes);
        self.space.wants_snapshot(self.now.mono, is_behind, reserve)
    }

    /// Whether this replica is to state how complete it is, if its clock is trusted.
    pub(super) fn states(&self) -> bool {
        self.is_leading() && self.state.is_primary()
    }

    /// Upper bound of the age of what is missing here of all that may be written: towards its own region a replica of the
    /// primary region is as complete as its own shard.
    pub(super) fn staleness(&self) -> Duration {
        if self.state.is_primary() {
            return self.staleness_of(self.state.origin());
        }
        let region = self.state.primary().1;
        let Some(shards) = self.state.origin_shards(region) else { return Duration::MAX };
        let origins: Vec<OriginShard> =
            ShardNumber::all(shards).map(|shard| OriginShard { region: region.clone(), shard }).collect();
        self.staleness_of_all(&origins)
    }

    pub(super) fn staleness_of_all(&self, origins: &[OriginShard]) -> Duration {
        if !self.clock.is_trusted() {
            return Duration::MAX;
        }
        self.statements.staleness(origins, self.now, &self.settings)
    }

    pub(super) fn is_member(&self) -> bool {
        self.raft.is_member(self.identity.replica.0)
    }

    /// Whether what this replica holds may be wrong.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.divergence.is_in_doubt(&self.settings)
    }

    /// Whether others may rely on what this replica holds.
    pub(super) fn is_trusted(&self) -> bool {
        self.out_of_service.is_none() && !self.is_in_doubt()
    }
}
