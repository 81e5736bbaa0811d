//! Context of a follower while it handles an event.

use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_proto::frame::CallNumbers;
use meridian_shard::{Entry, State};

use crate::Effect;

/// The log of the group of this shard.
pub trait Propose {
    /// Proposes an entry. Returns `false` if this replica no longer leads or the entry is too large.
    fn propose(&mut self, entry: &Entry) -> bool;
}

/// Time, state, log and effect buffer, borrowed for one event.
pub struct Ctx<'a> {
    /// The boot clock.
    pub now: Duration,
    /// The shard that follows.
    pub shard: ShardNumber,
    /// State of that shard.
    pub state: &'a State,
    /// Log of that shard.
    pub log: &'a mut dyn Propose,
    /// Entries that make the state grow may be proposed.
    pub admits_growth: bool,
    /// Allocator of call numbers.
    pub numbers: &'a mut CallNumbers,
    /// Counters.
    pub counters: &'a mut Counters,
    /// Resulting effects, in order.
    pub effects: &'a mut Vec<Effect>,
    /// Injected bug: applies the delta after a missing one.
    #[cfg(feature = "fault-injection")]
    pub accept_gap: bool,
}

/// Monotonic counters since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Changes of other regions that were applied.
    pub ops_merged: u64,
    /// Deltas that had been applied before.
    pub duplicates_dropped: u64,
    /// Gaps in a followed log that were read again.
    pub gaps_healed: u64,
    /// Number of times the origin was read because a broker lacked records.
    pub origin_fallbacks: u64,
    /// Records of followed logs that could not be applied.
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
