//! Events of parts with more than one source.

use meridian_model::LogIndex;
use meridian_raft::Members;

use super::Replica;
use crate::context::Ctx;
use crate::effect::{Effect, Requester};
use crate::{LogRecord, completeness, consensus, positions, reads, snapshots, space};

impl Replica {
    pub(super) fn memory_used(&mut self, used: u64, limit: u64) {
        let was_short = self.memory.is_short();
        self.memory.measured(used, limit, self.snapshots.is_taking());
        if self.memory.is_short() && !was_short {
            // Drops the log kept in memory for slow followers; they receive the snapshot instead.
            self.perform(Effect::CompactLog { keep_from: self.snapshots.newest() + 1 });
        }
        part!(self, space, space::Event::MemoryMeasured);
    }

    /// The applied position advanced: pending statements may count.
    pub(super) fn statements_applied(&mut self) {
        let clock_trusted = self.statements.has_round() && self.states() && self.clock.is_trusted();
        part!(self, statements, completeness::Event::Applied { clock_trusted });
    }

    /// Offers the snapshot found at the start to the consensus library.
    pub(crate) fn offer_found_snapshot(&mut self, members: Members) {
        part!(self, snapshots, snapshots::Event::Found(members));
    }

    pub(super) fn cancel_read(&mut self, from: Requester) {
        part!(self, reads, reads::Event::Cancel(from));
    }

    /// A quorum confirmed a ReadIndex round of a statement or of reads.
    pub(super) fn read_index_confirmed(&mut self, context: u64, index: LogIndex) {
        if self.statements.is_round(context) {
            let clock_trusted = self.states() && self.clock.is_trusted();
            part!(self, statements, completeness::Event::Confirmed { index, clock_trusted });
        } else {
            let staleness = self.staleness();
            part!(self, reads, reads::Event::Confirmed { context, index, staleness });
        }
    }

    /// Voids the log, which restarts with this base record.
    pub(crate) fn log_voided(&mut self, base: LogRecord) {
        part!(self, consensus, consensus::Event::LogVoided { base });
    }

    /// The state advanced or became fresher: rechecks waiting reads.
    pub(super) fn recheck_reads(&mut self) {
        if self.reads.waits_for_state() {
            let staleness = self.staleness();
            part!(self, reads, reads::Event::StateMoved { staleness });
        }
    }

    /// State or time advanced: rechecks calls that wait for positions.
    pub(super) fn recheck_parked(&mut self) {
        if !self.positions.is_idle() {
            part!(self, positions, positions::Event::StateMoved);
        }
    }
}
