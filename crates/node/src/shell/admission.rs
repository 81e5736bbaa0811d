//! Whether one more read may wait: a bounded queue with a target delay (after CoDel, Nichols and Jacobson, ACM Queue 2012,
//! and the "controlled delay" of Maurer, ACM Queue 2015).
//!
//! A queue that empties now and then absorbs a burst and may be somewhat longer. One that has not been empty for
//! [`INTERVAL`] is a standing queue: it adds delay and no throughput, so it is kept at [`TARGET`]. So short a queue may be
//! empty for a moment although three times too many reads come; it stays a standing queue until none was refused for
//! [`INTERVAL`]. A read that does not fit is refused when it comes, not after it has waited.

use std::time::Duration;

/// Delay that a standing queue may add: CoDel's own.
const TARGET: Duration = Duration::from_millis(5);
/// Delay that a burst may add.
const BURST: Duration = Duration::from_millis(20);
/// A queue that has not been empty for this long is a standing one.
const INTERVAL: Duration = Duration::from_millis(100);
/// Reads that wait at most, however short they are: a bound on memory.
const WAITING: usize = 4_096;
/// Weight of the newest read in the mean time of service: one in so many.
const SMOOTHING: u32 = 16;
/// Time of service before anything is known.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// Measures a queue and judges newcomers.
#[derive(Clone)]
pub(super) struct Admission {
    threads: u32,
    /// Exponentially weighted mean.
    service: Duration,
    /// When the queue was last empty.
    empty_at: Duration,
    /// When a read was last refused.
    refused_at: Option<Duration>,
}

impl Admission {
    pub(super) fn new(threads: usize, now: Duration) -> Self {
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        Self { threads, service: FIRST_GUESS, empty_at: now, refused_at: None }
    }

    /// What a read that comes now would wait behind `waiting` others.
    pub(super) fn delay(&self, waiting: usize) -> Duration {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.service.saturating_mul(waiting) / self.threads
    }

    /// Whether one more may wait behind `waiting` others. One for each thread always may, or threads would stand still
    /// between two long reads.
    pub(super) fn admits(&mut self, waiting: usize, now: Duration) -> bool {
        let was_refused = self.refused_at.is_some_and(|at| now.saturating_sub(at) <= INTERVAL);
        let is_standing = was_refused || now.saturating_sub(self.empty_at) > INTERVAL;
        let most = if is_standing { TARGET } else { BURST };
        let admits = waiting < WAITING && (waiting < self.threads as usize || self.delay(waiting) <= most);
        if !admits {
            self.refused_at = Some(now);
        }
        admits
    }

    /// The queue is empty.
    pub(super) fn emptied(&mut self, now: Duration) {
        self.empty_at = now;
    }

    /// A read took so long on its thread.
    pub(super) fn served(&mut self, took: Duration) {
        self.service = (self.service * (SMOOTHING - 1) + took) / SMOOTHING;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of_two_ms(threads: usize) -> Admission {
        let mut admission = Admission::new(threads, Duration::ZERO);
        (0..200).for_each(|_| admission.served(2 * MS));
        admission
    }

    /// The longest queue that admits one more.
    fn most(admission: &Admission, now: Duration) -> usize {
        let mut admission = admission.clone();
        (0..=WAITING).take_while(|waiting| admission.admits(*waiting, now)).last().map_or(0, |last| last + 1)
    }

    #[test]
    fn a_burst_may_wait_longer_than_a_standing_queue() {
        let mut admission = of_two_ms(1);
        assert_eq!(most(&admission, 50 * MS), 11, "20 ms of 2 ms each, and the newcomer");
        assert_eq!(most(&admission, 101 * MS), 3, "two of 2 ms each, and the newcomer");
        admission.emptied(150 * MS);
        assert_eq!(most(&admission, 160 * MS), 11);
    }

    #[test]
    fn a_queue_that_is_empty_for_a_moment_stays_a_standing_one_while_reads_are_refused() {
        let mut admission = of_two_ms(1);
        assert!(!admission.admits(3, 101 * MS));
        admission.emptied(110 * MS);
        assert_eq!(most(&admission, 150 * MS), 3);
        admission.emptied(190 * MS);
        assert_eq!(most(&admission, 202 * MS), 11, "none was refused for as long as an interval");
    }

    #[test]
    fn threads_share_the_queue() {
        assert_eq!(most(&of_two_ms(4), 101 * MS), 11);
    }

    #[test]
    fn one_read_a_thread_may_wait_however_long_reads_take() {
        let mut admission = of_two_ms(2);
        (0..200).for_each(|_| admission.served(500 * MS));
        assert_eq!(most(&admission, 101 * MS), 2);
    }

    #[test]
    fn the_queue_is_bounded_however_short_reads_are() {
        let mut admission = of_two_ms(1);
        (0..2_000).for_each(|_| admission.served(Duration::ZERO));
        assert_eq!(most(&admission, 50 * MS), WAITING);
    }

    /// One thread, 2 ms a search, an arrival every 0.67 ms: three times what it can do.
    #[test]
    fn at_three_times_capacity_the_thread_is_always_busy_and_the_delay_stays_at_the_target() {
        let us = Duration::from_micros;
        let mut admission = of_two_ms(1);
        let (mut queue, mut free_at, mut served, mut longest) =
            (std::collections::VecDeque::new(), Duration::ZERO, 0, Duration::ZERO);
        for arrival in (0..15_000).map(|n| us(667) * n) {
            while free_at <= arrival {
                let Some(came) = queue.pop_front() else { break };
                let begun = free_at.max(came);
                if begun > Duration::from_millis(200) {
                    longest = longest.max(begun - came);
                }
                free_at = begun + 2 * MS;
                served += 1;
                admission.served(2 * MS);
                if queue.is_empty() {
                    admission.emptied(begun);
                }
            }
            if admission.admits(queue.len(), arrival) {
                queue.push_back(arrival);
            }
        }
        assert!(served >= 4_950, "{served} of 5,000 that one thread can serve in 10 s");
        assert!(longest <= 8 * MS, "{longest:?}");
    }
}
