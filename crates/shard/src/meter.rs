//! Ends a read before it is complete: when its time is over, when nobody waits for it, or when it was asked to make room.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Asked now and then while a read scans; `true` ends it.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Steps between two questions. A step (one condition on one value) takes some tens of nanoseconds, so a read ends well
/// within a millisecond.
const STEPS: u32 = 1 << 12;

/// Bytes of payloads and vectors that one shard's part of an answer may hold: far more than a page needs, and of all
/// threads together far less than a pod has.
pub(crate) const ANSWER_BYTES: usize = 16 << 20;

/// Counts the steps of one read, and the bytes of its answer.
pub(crate) struct Meter<'a> {
    stop: Stop<'a>,
    steps: AtomicU32,
    stopped: AtomicBool,
    bytes: AtomicUsize,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(stop: Stop<'a>) -> Self {
        Self { stop, steps: AtomicU32::new(0), stopped: AtomicBool::new(false), bytes: AtomicUsize::new(0) }
    }

    /// Counts `steps` more; false once the read is to end. What is skipped from then on makes the answer wrong, so the
    /// read must end with [`crate::ReadError::Stopped`].
    #[inline]
    pub(crate) fn go_on(&self, steps: usize) -> bool {
        // A search may count on several threads. A lost count delays the question, so loads and stores suffice.
        let counted = self.steps.load(Ordering::Relaxed);
        let sum = counted.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if sum < STEPS {
            self.steps.store(sum, Ordering::Relaxed);
            return !self.is_stopped();
        }
        self.steps.store(0, Ordering::Relaxed);
        if !self.is_stopped() && (self.stop)() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        !self.is_stopped()
    }

    /// Counts bytes of the answer; false when it becomes too large by them.
    pub(crate) fn holds(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= ANSWER_BYTES
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_is_asked_once_in_many_steps_and_stays_said() {
        let asked = AtomicU32::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        let meter = Meter::new(&stop);
        let went_on = (0..STEPS * 10).take_while(|_| meter.go_on(1)).count();
        assert_eq!((went_on as u32, asked.load(Ordering::Relaxed)), (STEPS * 3 - 1, 3));
        assert!(!meter.go_on(1) && !meter.go_on(usize::MAX) && meter.is_stopped());
        assert_eq!(asked.load(Ordering::Relaxed), 3, "a read that is to end asks no more");
    }

    #[test]
    fn one_large_step_asks_at_once() {
        assert!(!Meter::new(&|| true).go_on(usize::MAX));
    }
}
