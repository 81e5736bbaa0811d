//! What time it is, as the parts of the machine use it.

use std::time::Duration;

use meridian_model::WallMillis;

use crate::Now;

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// The boot clock: for waits.
    pub(crate) mono: Duration,
    /// The boot clock and all by which the wall clock's offset from it grew: the wall clock had been behind, or the boot
    /// clock stood still. For ages: whichever it was, they are not too small.
    pub(crate) age: Duration,
    /// The boot clock plus the offset in use.
    pub(crate) wall: Duration,
}

impl Time {
    pub(crate) fn new(now: Now) -> Self {
        Self { mono: now.mono, age: now.mono, wall: now.wall }
    }

    pub(crate) fn wall_millis(&self) -> WallMillis {
        Now { mono: self.mono, wall: self.wall }.wall_millis()
    }
}
