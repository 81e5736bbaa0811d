//! The clocks of a machine: boot clock and wall clock, with errors from the seed.

use std::time::Duration;

use meridian_replica::Now;

/// True time, in microseconds since the start of the run.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;
/// One millisecond.
pub const MILLI: Micros = 1_000;

/// Wall time at the start without error: a date after 2020, in milliseconds since 1970.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

/// Clock state of a machine.
#[derive(Debug, Clone)]
pub struct Clock {
    offset_us: i64,
    drift_ppm: i64,
    /// Total time that the boot clock stood still, in microseconds.
    suspended_us: Micros,
}

impl Clock {
    /// A clock with an initial error and a drift.
    #[must_use]
    pub fn new(offset_us: i64, drift_ppm: i64) -> Self {
        Self { offset_us, drift_ppm, suspended_us: 0 }
    }

    /// Error of the wall clock, in microseconds; positive is ahead of true time.
    #[must_use]
    pub fn error_us(&self, now: Micros) -> i64 {
        self.offset_us + i64::try_from(now).unwrap_or(i64::MAX / 1_000_000) * self.drift_ppm / 1_000_000
    }

    /// Sets the wall clock so that its error is `error_us` now.
    pub fn set_error(&mut self, now: Micros, error_us: i64) {
        self.offset_us += error_us - self.error_us(now);
    }

    /// Removes error and drift.
    pub fn set_right(&mut self) {
        (self.offset_us, self.drift_ppm) = (0, 0);
    }

    /// Suspends the machine: the boot clock stands still for `duration`.
    pub fn suspend(&mut self, duration: Micros) {
        self.suspended_us += duration;
    }

    /// Readings of both clocks.
    #[must_use]
    pub fn now(&self, now: Micros) -> Now {
        let wall_us = EPOCH_MILLIS * 1000 + i64::try_from(now).unwrap_or(i64::MAX / 2) + self.error_us(now);
        Now {
            mono: Duration::from_micros(now.saturating_sub(self.suspended_us)),
            wall: Duration::from_micros(u64::try_from(wall_us).unwrap_or_default()),
        }
    }
}
