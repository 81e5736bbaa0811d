//! What a follower is lent while it handles an event.

use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_proto::frame::CallNumbers;
use meridian_shard::{Entry, State};

use crate::Effect;

/// The log of the group of this shard.
pub trait Propose {
    /// Proposes an entry. `false` when the log does not take it: this replica leads no more, or the entry is too large.
    fn propose(&mut self, entry: &Entry) -> bool;
}

/// The time, the state, the log, and where effects go. A follower keeps none of it.
pub struct Ctx<'a> {
    /// The boot clock.
    pub now: Duration,
    /// The shard that follows.
    pub shard: ShardNumber,
    /// Its state.
    pub state: &'a State,
    /// Its log.
    pub log: &'a mut dyn Propose,
    /// Whether what makes the state grow may be proposed.
    pub admits_growth: bool,
    /// Numbers of calls.
    pub numbers: &'a mut CallNumbers,
    /// What happened, counted.
    pub counters: &'a mut Counters,
    /// What is to be done, in order.
    pub effects: &'a mut Vec<Effect>,
    /// Injected bug: the delta behind a missing one is applied.
    #[cfg(feature = "fault-injection")]
    pub accept_gap: bool,
}

/// Counts since the start of the process; they only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Changes of other regions that were applied.
    pub ops_merged: u64,
    /// Deltas that had been applied before.
    pub duplicates_dropped: u64,
    /// Gaps in a followed log that were read again.
    pub gaps_healed: u64,
    /// Times the origin was asked for what a broker lacked.
    pub detours: u64,
    /// Records of followed logs that could not be taken.
    pub poisons_met: u64,
    /// Origin shards re-seeded.
    pub reseeds: u64,
}

impl Ctx<'_> {
    #[cfg(feature = "fault-injection")]
    pub(super) fn accepts_gap(&self) -> bool {
        self.accept_gap
    }

    #[cfg(not(feature = "fault-injection"))]
    #[expect(clippy::unused_self, reason = "with fault injection it looks at a field")]
    pub(super) const fn accepts_gap(&self) -> bool {
        false
    }
}
