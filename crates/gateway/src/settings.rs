//! Settings of a gateway, fixed at its start.

use std::time::Duration;

use meridian_model::client::OnStale;

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Freshness required of reads that demand none; if absent, the region alone answers such reads.
    pub default_freshness: Option<Duration>,
    /// Fallbacks of a read that names none.
    pub on_stale: Vec<OnStale>,
    /// Longest wait of a read that names none.
    pub max_wait: Duration,
    /// Largest difference between the clocks of any two pods of any regions.
    pub clock_bound: Duration,
    /// Points that a delete by filter reads and deletes per shard and page.
    pub match_page: usize,
    /// A bug injected by the simulation.
    #[cfg(feature = "fault-injection")]
    pub injected_bug: Option<InjectedBug>,
}

/// A bug that the simulation must detect. Each of them existed once.
///
/// Only the feature `fault-injection` makes them reachable. Without it `Settings::injects` is constant, so no branch
/// remains and call sites need no `cfg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedBug {
    /// Answers from a state older than demanded without marking it.
    UnmarkedStale,
    /// Reports a write as visible in a secondary region once the primary region has acknowledged it.
    VisibleTooEarly,
    /// Deletes points by filter even if they changed since the read.
    DeleteUnconditionally,
    /// Refuses a write whose outcome is unknown.
    RefuseUnknown,
}

impl Settings {
    /// Returns true if this bug is injected.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn injects(&self, bug: InjectedBug) -> bool {
        self.injected_bug == Some(bug)
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(crate) const fn injects(&self, _: InjectedBug) -> bool {
        false
    }
}
