//! A heartbeat that one thread updates and others read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time of a thread's last loop iteration.
pub(super) struct Heartbeat {
    start: Instant,
    millis: AtomicU64,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(super) fn beat(&self) {
        self.millis.store(self.millis_since_start(), Ordering::Relaxed);
    }

    /// Time since the last beat, or since creation.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_millis(self.millis_since_start().saturating_sub(self.millis.load(Ordering::Relaxed)))
    }

    fn millis_since_start(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Fails when the time since the last beat exceeds `bound`.
pub(super) fn check_liveness(elapsed: Duration, bound: Duration) -> Result<(), String> {
    if elapsed <= bound {
        return Ok(());
    }
    Err(format!("the engine thread has been stalled for {} s", elapsed.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_thread_is_not_alive() {
        let bound = Duration::from_secs(20);
        assert_eq!(check_liveness(bound, bound), Ok(()));
        let message = check_liveness(Duration::from_secs(21), bound).unwrap_err();
        assert!(message.contains("21 s"), "{message}");
    }

    #[test]
    fn a_beat_resets_the_elapsed_time() {
        let heartbeat = Heartbeat {
            start: Instant::now().checked_sub(Duration::from_secs(60)).unwrap(),
            millis: AtomicU64::new(0),
        };
        assert!(heartbeat.elapsed() >= Duration::from_secs(60));
        heartbeat.beat();
        assert!(heartbeat.elapsed() < Duration::from_secs(30));
    }
}
