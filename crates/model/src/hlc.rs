//! Hybrid logical time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A reading of the wall clock: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallMillis(pub u64);

/// Hybrid logical clock stamp: 48 bits of wall-clock milliseconds, then 16 bits of counter
/// (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014, section 3; the counter carries into the milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    const COUNTER_BITS: u32 = 16;
    /// Before every stamp.
    pub const ZERO: Self = Self(0);
    /// No wall clock gives a larger stamp (the year 6429): behind it there is room to count on, for
    /// order goes on from the largest stamp seen, however far ahead of any clock it is.
    pub const LIMIT: Self = Self(1 << 63);
    /// The largest stamp that is taken from another region: its clocks end at [`Hlc::LIMIT`], and nobody counts on this far.
    pub const REMOTE_MAX: Self = Self(3 << 62);

    /// The first stamp of that millisecond, at most [`Hlc::LIMIT`].
    #[must_use]
    pub fn at(wall: WallMillis) -> Self {
        Self(wall.0.min(Self::LIMIT.0 >> Self::COUNTER_BITS) << Self::COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch, the counter dropped.
    #[must_use]
    pub fn wall(self) -> WallMillis {
        WallMillis(self.0 >> Self::COUNTER_BITS)
    }

    /// The next stamp to give: the wall clock, or one more than `self` where the clock is behind it. It waits for no clock.
    #[must_use]
    pub fn tick(self, wall: WallMillis) -> Self {
        Self::at(wall).max(Self(self.0 + 1))
    }

    /// How far this stamp lies after `earlier`; zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.wall().0.saturating_sub(earlier.wall().0))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall().0, self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_at_the_end_of_time_leaves_room_to_count_on() {
        let last = Hlc::at(WallMillis(u64::MAX));
        assert_eq!((last, last.tick(WallMillis(u64::MAX))), (Hlc::LIMIT, Hlc(Hlc::LIMIT.0 + 1)));
        assert_eq!(Hlc::at(WallMillis(1)).tick(WallMillis(0)), Hlc((1 << 16) + 1));
    }

    proptest! {
        #[test]
        fn ticks_only_grow_and_never_lag_the_clock(walls in prop::collection::vec(0u64..1 << 40, 1..50)) {
            let mut last = Hlc::ZERO;
            for wall in walls.into_iter().map(WallMillis) {
                let next = last.tick(wall);
                prop_assert!(next > last);
                prop_assert!(next.wall() >= wall);
                last = next;
            }
        }

        #[test]
        fn since_is_zero_for_what_is_not_earlier(a: u32, b: u32) {
            let (a, b) = (Hlc::at(WallMillis(a.into())), Hlc::at(WallMillis(b.into())));
            prop_assert_eq!(a.since(b) == Duration::ZERO, a <= b);
        }
    }
}
