//! What a gateway is told at its start and keeps to.

use std::time::Duration;

use meridian_model::client::OnStale;

/// What a gateway is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Required freshness of a read that says nothing; without it such a read is answered by the region alone.
    pub default_freshness: Option<Duration>,
    /// Fallbacks of a read that names none.
    pub on_stale: Vec<OnStale>,
    /// How long a read that does not say may wait.
    pub max_wait: Duration,
    /// How far the clocks of any two pods of any regions may differ.
    pub clock_bound: Duration,
    /// Points that a delete by filter reads of a shard, and then deletes, in one piece.
    pub match_page: usize,
    /// A bug put in on purpose, by the simulation.
    #[cfg(feature = "fault-injection")]
    pub injected_bug: Option<InjectedBug>,
}

/// A bug that the simulation must catch. Each of them was once made.
///
/// Only the feature `fault-injection` makes them reachable. Without it `Settings::injects` is constant, so that no branch
/// remains and call sites need no `cfg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedBug {
    /// Answers from a state that is older than demanded without marking it.
    UnmarkedStale,
    /// Reports a write as visible in a secondary region once the primary region has acknowledged it.
    VisibleTooEarly,
    /// Deletes by filter the points that matched when they were read, also those that changed since.
    DeleteUnconditionally,
    /// Refuses a write whose outcome is unknown.
    RefuseUnknown,
}

impl Settings {
    /// Whether this bug is put in.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn injects(&self, bug: InjectedBug) -> bool {
        self.injected_bug == Some(bug)
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(crate) const fn injects(&self, _: InjectedBug) -> bool {
        false
    }
}
