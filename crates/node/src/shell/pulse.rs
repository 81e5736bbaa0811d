//! A sign of life that one thread gives and others read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a thread last came round.
pub(super) struct Pulse {
    begun: Instant,
    millis: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(super) fn beat(&self) {
        self.millis.store(self.since_begun(), Ordering::Relaxed);
    }

    /// Time since the last beat, or since there is a thread.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.since_begun().saturating_sub(self.millis.load(Ordering::Relaxed)))
    }

    fn since_begun(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether a thread that has been silent that long lives; if not, what to say.
pub(super) fn judge(silent_for: Duration, bound: Duration) -> Result<(), String> {
    if silent_for <= bound {
        return Ok(());
    }
    Err(format!("the replica's thread has stood still for {} s", silent_for.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stands_still_is_not_alive() {
        let bound = Duration::from_secs(20);
        assert_eq!(judge(bound, bound), Ok(()));
        let said = judge(Duration::from_secs(21), bound).unwrap_err();
        assert!(said.contains("21 s"), "{said}");
    }

    #[test]
    fn a_beat_makes_it_young() {
        let pulse =
            Pulse { begun: Instant::now().checked_sub(Duration::from_secs(60)).unwrap(), millis: AtomicU64::new(0) };
        assert!(pulse.age() >= Duration::from_secs(60));
        pulse.beat();
        assert!(pulse.age() < Duration::from_secs(30));
    }
}
