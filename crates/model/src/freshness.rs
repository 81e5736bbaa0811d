//! What a reader may ask for, and whether a staleness is fresh enough.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a reader asks for. Without a wish, a read sees every write its region acknowledged before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// Linearizable per point, across regions: ReadIndex at the primary region.
    Strong,
    /// No older than a [`RequiredFreshness`].
    Bounded,
    /// At least what the client's token names.
    Session,
    /// Whatever this replica holds.
    Eventual,
}

/// The client's demand: the answer reflects every write acknowledged anywhere longer ago than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequiredFreshness(pub Duration);

/// The reply to a [`RequiredFreshness`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer keeps the demand.
    Fresh,
    /// The answer may be too old by this much.
    Behind(Duration),
}

/// Holds a staleness against a demand.
#[must_use]
pub fn judge(staleness: Duration, required: RequiredFreshness) -> Verdict {
    match staleness.checked_sub(required.0) {
        Some(Duration::ZERO) | None => Verdict::Fresh,
        Some(by) => Verdict::Behind(by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_just_met_is_met() {
        let required = RequiredFreshness(Duration::from_millis(100));
        assert_eq!(judge(Duration::from_millis(100), required), Verdict::Fresh);
        assert_eq!(judge(Duration::from_millis(130), required), Verdict::Behind(Duration::from_millis(30)));
        assert_eq!(judge(Duration::MAX, RequiredFreshness(Duration::MAX)), Verdict::Fresh);
    }
}
