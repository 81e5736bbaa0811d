//! The clocks of a machine: monotone and wall, each as wrong as the seed says.

use std::time::Duration;

use meridian_replica::Now;

/// True time of a run, in microseconds from its start.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;
/// One millisecond.
pub const MILLI: Micros = 1_000;

/// What all wall clocks show at the start, but for their error: a date well after 2020.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

/// A machine's wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    offset_us: i64,
    drift_ppm: i64,
    /// By how much the boot clock is behind, because it stood still.
    stood_still: Micros,
}

impl Clock {
    /// Off by `offset_us`, and by `drift_ppm` more with time.
    #[must_use]
    pub fn new(offset_us: i64, drift_ppm: i64) -> Self {
        Self { offset_us, drift_ppm, stood_still: 0 }
    }

    /// How far it is ahead of true time, in microseconds.
    #[must_use]
    pub fn error_us(&self, now: Micros) -> i64 {
        self.offset_us + i64::try_from(now).unwrap_or(i64::MAX / 1_000_000) * self.drift_ppm / 1_000_000
    }

    /// Somebody sets it: it errs by this much from now on.
    pub fn jump(&mut self, now: Micros, error_us: i64) {
        self.offset_us += error_us - self.error_us(now);
    }

    /// It is right, and stays so.
    pub fn set_right(&mut self) {
        (self.offset_us, self.drift_ppm) = (0, 0);
    }

    /// The machine is suspended for so long, and its boot clock with it.
    pub fn stand_still(&mut self, lasting: Micros) {
        self.stood_still += lasting;
    }

    /// What the machine's two clocks show.
    #[must_use]
    pub fn now(&self, now: Micros) -> Now {
        let wall_us = EPOCH_MILLIS * 1000 + i64::try_from(now).unwrap_or(i64::MAX / 2) + self.error_us(now);
        Now {
            mono: Duration::from_micros(now.saturating_sub(self.stood_still)),
            wall: Duration::from_micros(u64::try_from(wall_us).unwrap_or_default()),
        }
    }
}
