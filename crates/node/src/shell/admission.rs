//! Admission control of reads: a bounded queue with a target delay (after CoDel, Nichols and Jacobson, ACM Queue 2012,
//! and the "controlled delay" of Maurer, ACM Queue 2015).
//!
//! A queue that was empty within the last [`INTERVAL`] absorbs a burst and may delay reads by [`BURST`]. Otherwise it
//! is a standing queue, which adds delay but no throughput, and is kept at [`TARGET`]. At three times the capacity such
//! a short queue may still be empty for a moment; it counts as standing until no read was refused for [`INTERVAL`]. A
//! read that does not fit is refused on arrival, not after waiting.

use std::time::Duration;

/// Delay limit of a standing queue: CoDel's default.
const TARGET: Duration = Duration::from_millis(5);
/// Delay limit of a burst.
const BURST: Duration = Duration::from_millis(20);
/// Time without an empty queue after which it is a standing queue.
const INTERVAL: Duration = Duration::from_millis(100);
/// Queue length limit, which bounds memory for very short reads.
const MAX_WAITING: usize = 4_096;
/// The newest read has weight 1/16 in the mean service time.
const SMOOTHING: u32 = 16;
/// Service time before the first measurement.
const INITIAL_SERVICE_TIME: Duration = Duration::from_millis(1);

/// Tracks one queue and decides admission.
#[derive(Clone)]
pub(super) struct Admission {
    threads: u32,
    /// Exponentially weighted mean service time.
    service: Duration,
    /// Time at which the queue was last empty.
    empty_at: Duration,
    /// Time at which a read was last refused.
    refused_at: Option<Duration>,
}

impl Admission {
    pub(super) fn new(threads: usize, now: Duration) -> Self {
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        Self { threads, service: INITIAL_SERVICE_TIME, empty_at: now, refused_at: None }
    }

    /// Expected delay of a read behind `waiting` others.
    pub(super) fn delay(&self, waiting: usize) -> Duration {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.service.saturating_mul(waiting) / self.threads
    }

    /// Whether one more read is admitted behind `waiting` others. One per thread always is; otherwise threads would
    /// idle between two long reads.
    pub(super) fn admits(&mut self, waiting: usize, now: Duration) -> bool {
        let was_refused = self.refused_at.is_some_and(|at| now.saturating_sub(at) <= INTERVAL);
        let is_standing = was_refused || now.saturating_sub(self.empty_at) > INTERVAL;
        let max_delay = if is_standing { TARGET } else { BURST };
        let admits = waiting < MAX_WAITING && (waiting < self.threads as usize || self.delay(waiting) <= max_delay);
        if !admits {
            self.refused_at = Some(now);
        }
        admits
    }

    /// Records that the queue is empty.
    pub(super) fn record_empty(&mut self, now: Duration) {
        self.empty_at = now;
    }

    /// Records the service time of one read.
    pub(super) fn record_service_time(&mut self, took: Duration) {
        self.service = (self.service * (SMOOTHING - 1) + took) / SMOOTHING;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of_two_ms(threads: usize) -> Admission {
        let mut admission = Admission::new(threads, Duration::ZERO);
        (0..200).for_each(|_| admission.record_service_time(2 * MS));
        admission
    }

    /// The longest queue that admits one more read.
    fn longest_queue(admission: &Admission, now: Duration) -> usize {
        let mut admission = admission.clone();
        (0..=MAX_WAITING).take_while(|waiting| admission.admits(*waiting, now)).last().map_or(0, |last| last + 1)
    }

    #[test]
    fn a_burst_may_wait_longer_than_a_standing_queue() {
        let mut admission = of_two_ms(1);
        assert_eq!(longest_queue(&admission, 50 * MS), 11, "20 ms of 2 ms each, and the new read");
        assert_eq!(longest_queue(&admission, 101 * MS), 3, "two of 2 ms each, and the new read");
        admission.record_empty(150 * MS);
        assert_eq!(longest_queue(&admission, 160 * MS), 11);
    }

    #[test]
    fn a_briefly_empty_queue_stays_a_standing_queue_while_reads_are_refused() {
        let mut admission = of_two_ms(1);
        assert!(!admission.admits(3, 101 * MS));
        admission.record_empty(110 * MS);
        assert_eq!(longest_queue(&admission, 150 * MS), 3);
        admission.record_empty(190 * MS);
        assert_eq!(longest_queue(&admission, 202 * MS), 11, "none was refused for as long as an interval");
    }

    #[test]
    fn threads_share_the_queue() {
        assert_eq!(longest_queue(&of_two_ms(4), 101 * MS), 11);
    }

    #[test]
    fn one_read_per_thread_may_wait_however_long_reads_take() {
        let mut admission = of_two_ms(2);
        (0..200).for_each(|_| admission.record_service_time(500 * MS));
        assert_eq!(longest_queue(&admission, 101 * MS), 2);
    }

    #[test]
    fn the_queue_is_bounded_however_short_reads_are() {
        let mut admission = of_two_ms(1);
        (0..2_000).for_each(|_| admission.record_service_time(Duration::ZERO));
        assert_eq!(longest_queue(&admission, 50 * MS), MAX_WAITING);
    }

    /// One thread, 2 ms per search, one arrival every 0.67 ms: three times the capacity.
    #[test]
    fn at_three_times_capacity_the_thread_is_always_busy_and_the_delay_stays_at_the_target() {
        let us = Duration::from_micros;
        let mut admission = of_two_ms(1);
        let (mut queue, mut free_at, mut served, mut longest) =
            (std::collections::VecDeque::new(), Duration::ZERO, 0, Duration::ZERO);
        for arrival in (0..15_000).map(|n| us(667) * n) {
            while free_at <= arrival {
                let Some(came) = queue.pop_front() else { break };
                let start = free_at.max(came);
                if start > Duration::from_millis(200) {
                    longest = longest.max(start - came);
                }
                free_at = start + 2 * MS;
                served += 1;
                admission.record_service_time(2 * MS);
                if queue.is_empty() {
                    admission.record_empty(start);
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
