//! Queries that combine several parts.

use std::time::Duration;

use meridian_model::{OriginShard, ShardNumber};

use super::Replica;
use crate::space;

impl Replica {
    /// Returns `true` if the disk has space beyond the reserve and memory suffices for a snapshot.
    pub(super) fn has_space(&self) -> bool {
        self.space.has_space()
    }

    /// Returns `true` if the leader may admit entries that make the state grow.
    pub(crate) fn admits_growth(&self) -> bool {
        self.space.admits_growth(self.group())
    }

    /// Returns `true` if the leader may admit small entries that free space or change the group.
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

    /// Returns `true` if this replica is to send completeness statements, provided its clock is trusted.
    pub(super) fn states(&self) -> bool {
        self.is_leading() && self.state.is_primary()
    }

    /// Upper bound of the staleness of all origin shards. In the primary region, only the own shard's log counts
    /// towards the own region.
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

    /// Returns `true` if the state may have diverged.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.divergence.is_in_doubt(&self.settings)
    }

    /// Returns `true` if this replica serves, is caught up and is not in doubt.
    pub(super) fn is_trusted(&self) -> bool {
        self.out_of_service.is_none() && !self.is_in_doubt()
    }
}
