//! Events of parts that come from what is no part yet.

use std::time::Duration;

use meridian_model::{LogIndex, OriginShard, Statement, VersionVector};
use meridian_proto::frame::NodeId;
use meridian_raft::{Entry as RaftEntry, Members, Snapshot};
use meridian_shard::{Entry, Outcome};

use super::Replica;
use crate::context::Ctx;
use crate::effect::Requester;
use crate::reads::ReadCall;
use crate::{completeness, divergence, membership, positions, reads, snapshots, space};

impl Replica {
    pub(super) fn memory_used(&mut self, used: u64, limit: u64) {
        let was_short = self.memory.is_short();
        self.memory.measured(used, limit, self.snapshots.is_taking());
        if self.memory.is_short() && !was_short {
            // The log behind the newest snapshot is kept in memory for those that are slow: they get the snapshot.
            self.compact_log(self.snapshots.newest() + 1);
        }
        part!(self, space, space::Event::MemoryMeasured);
    }

    /// A quorum confirmed the round of a statement.
    pub(crate) fn round_confirmed(&mut self, index: LogIndex) {
        let clock_trusted = self.states() && self.clock.is_trusted();
        part!(self, statements, completeness::Event::Confirmed { index, clock_trusted });
    }

    pub(crate) fn hear_statement(&mut self, origin: &OriginShard, statement: Statement, at_least: Duration) {
        let origin = origin.clone();
        part!(self, statements, completeness::Event::Heard { origin, statement, at_least });
    }

    /// The state moved on: statements that waited for it count.
    pub(crate) fn statements_applied(&mut self) {
        let clock_trusted = self.statements.has_round() && self.states() && self.clock.is_trusted();
        part!(self, statements, completeness::Event::Applied { clock_trusted });
    }

    /// A change of the group is committed.
    pub(crate) fn apply_membership(&mut self, entry: RaftEntry) {
        part!(self, membership, membership::Event::Committed(entry));
    }

    /// Links were applied or refused.
    pub(crate) fn links_applied(&mut self, outcome: &Outcome) {
        let changed = *outcome == Outcome::LinksChanged;
        part!(self, membership, membership::Event::LinksApplied { changed });
    }

    pub(crate) fn fail_topology_waiters(&mut self) {
        part!(self, membership, membership::Event::LeadershipLost);
    }

    /// The consensus library knows the snapshot that was on disk at the start.
    pub(crate) fn offer_found_snapshot(&mut self, members: Members) {
        part!(self, snapshots, snapshots::Event::Found(members));
    }

    pub(crate) fn snapshot_incoming(&mut self, from: NodeId, snapshot: Snapshot) {
        part!(self, snapshots, snapshots::Event::Offered { from, snapshot });
    }

    /// A checksum entry was applied.
    pub(crate) fn checksum_applied(&mut self, entry: &Entry) {
        let Entry::Checksum { at, hash } = *entry else { return };
        part!(self, divergence, divergence::Event::ChecksumApplied { at, hash });
    }

    pub(crate) fn entries_applied(&mut self) {
        part!(self, divergence, divergence::Event::Applied);
    }

    pub(crate) fn read(&mut self, call: ReadCall) {
        let staleness = self.staleness();
        part!(self, reads, reads::Event::Call { call, staleness });
    }

    pub(crate) fn cancel_read(&mut self, from: Requester) {
        part!(self, reads, reads::Event::Cancel(from));
    }

    /// The consensus library takes questions.
    pub(crate) fn ask_for_read_indexes(&mut self) {
        if self.reads.wants_quorum() {
            part!(self, reads, reads::Event::AskQuorum);
        }
    }

    pub(crate) fn read_index_confirmed(&mut self, context: u64, index: LogIndex) {
        let staleness = self.staleness();
        part!(self, reads, reads::Event::Confirmed { context, index, staleness });
    }

    /// The state moved on, or became fresher: reads may be ready.
    pub(crate) fn recheck_reads(&mut self) {
        if self.reads.waits_for_state() {
            let staleness = self.staleness();
            part!(self, reads, reads::Event::StateMoved { staleness });
        }
    }

    pub(crate) fn await_positions(&mut self, from: Requester, positions: VersionVector) {
        part!(self, positions, positions::Event::Await { from, positions });
    }

    /// The state moved on, or time did: positions may be reached.
    pub(crate) fn recheck_parked(&mut self) {
        if !self.positions.is_idle() {
            part!(self, positions, positions::Event::StateMoved);
        }
    }

    pub(crate) fn fail_parked(&mut self) {
        part!(self, positions, positions::Event::LeadershipLost);
    }
}
