//! Ends a read early: at its deadline, when its client disconnects, or to make room for others.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Called periodically during a scan; `true` ends the read.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Steps between two calls. A step (one condition on one value) takes some tens of nanoseconds, so a read ends well
/// within a millisecond.
const STEPS: u32 = 1 << 12;

/// Most bytes of payloads and vectors in the answer of one shard: far more than a page needs, and over all threads far
/// less than the memory of a pod.
pub(crate) const ANSWER_BYTES: usize = 16 << 20;

/// Counts the steps of one read and the bytes of its answer.
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

    /// Counts `steps` more. Returns false once the read must end; its answer is incomplete from then on, so the read
    /// must return [`crate::ReadError::Stopped`].
    #[inline]
    pub(crate) fn go_on(&self, steps: usize) -> bool {
        // A search may count on several threads. A lost count only delays the next call, so loads and stores suffice.
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

    /// Counts bytes of the answer. Returns false if they exceed the limit.
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
    fn cancellation_is_checked_once_in_many_steps_and_is_final() {
        let asked = AtomicU32::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        let meter = Meter::new(&stop);
        let went_on = (0..STEPS * 10).take_while(|_| meter.go_on(1)).count();
        assert_eq!((went_on as u32, asked.load(Ordering::Relaxed)), (STEPS * 3 - 1, 3));
        assert!(!meter.go_on(1) && !meter.go_on(usize::MAX) && meter.is_stopped());
        assert_eq!(asked.load(Ordering::Relaxed), 3, "a read that is to end asks no more");
    }

    #[test]
    fn one_large_step_checks_for_cancellation() {
        assert!(!Meter::new(&|| true).go_on(usize::MAX));
    }
}
