//! How stale an answer may be, and whether that is fresh enough.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Hlc, OriginShard};

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

/// How old an answer may be, at most: the age of the oldest moment up to which every origin is known complete.
///
/// `safe` holds, per origin shard, the largest closed time whose sequence is applied. A silent origin grows stale;
/// one never heard of (absent) is infinitely stale, and so is every answer when a stamp lies further ahead of `now`
/// than `clock_bound` allows, for then the bound is proved broken.
#[must_use]
pub fn staleness(
    safe: &BTreeMap<OriginShard, Hlc>,
    origins: &[OriginShard],
    now: Hlc,
    clock_bound: Duration,
) -> Duration {
    let age = |origin: &OriginShard| match safe.get(origin) {
        Some(at) if at.since(now) > clock_bound => Duration::MAX,
        Some(at) => now.since(*at).saturating_add(clock_bound),
        None => Duration::MAX,
    };
    origins.iter().map(age).max().unwrap_or(Duration::ZERO)
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
    use crate::{RegionName, ShardNumber, WallMillis};

    const BOUND: Duration = Duration::from_millis(10);

    fn origin(shard: u16) -> OriginShard {
        OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::new(shard).unwrap() }
    }

    fn check(safe: &[(u16, u64)], origins: &[u16], now: u64, expected: Duration) {
        let safe = safe.iter().map(|(shard, at)| (origin(*shard), Hlc::at(WallMillis(*at)))).collect();
        let origins: Vec<_> = origins.iter().map(|shard| origin(*shard)).collect();
        assert_eq!(staleness(&safe, &origins, Hlc::at(WallMillis(now)), BOUND), expected);
    }

    #[test]
    fn the_oldest_origin_decides() {
        check(&[(1, 900), (2, 950)], &[1, 2], 1000, Duration::from_millis(110));
    }

    #[test]
    fn silence_counts() {
        check(&[(1, 1000)], &[1], 3_601_000, Duration::from_millis(3_600_010));
    }

    #[test]
    fn an_origin_never_heard_of_is_infinitely_stale() {
        check(&[(1, 1000)], &[1, 2], 1000, Duration::MAX);
    }

    #[test]
    fn an_origin_not_asked_for_does_not_count() {
        check(&[(1, 1000), (2, 1)], &[1], 1000, BOUND);
        check(&[], &[], 1000, Duration::ZERO);
    }

    #[test]
    fn a_stamp_from_the_future_breaks_the_bound() {
        check(&[(1, 1010)], &[1], 1000, BOUND);
        check(&[(1, 1011)], &[1], 1000, Duration::MAX);
    }

    #[test]
    fn a_demand_just_met_is_met() {
        let required = RequiredFreshness(Duration::from_millis(100));
        assert_eq!(judge(Duration::from_millis(100), required), Verdict::Fresh);
        assert_eq!(judge(Duration::from_millis(130), required), Verdict::Behind(Duration::from_millis(30)));
        assert_eq!(judge(Duration::MAX, RequiredFreshness(Duration::MAX)), Verdict::Fresh);
    }
}
