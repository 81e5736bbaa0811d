//! Event queue, ordered by time, then by order of insertion.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::clock::Micros;

/// A queue of scheduled events.
pub struct Queue<T> {
    heap: BinaryHeap<Scheduled<T>>,
    scheduled: u64,
}

struct Scheduled<T> {
    at: Micros,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }

    /// Schedules an event at time `at`.
    pub fn push(&mut self, at: Micros, what: T) {
        self.scheduled += 1;
        self.heap.push(Scheduled { at, number: self.scheduled, what });
    }

    /// Removes the next event; returns its time and the event.
    pub fn pop(&mut self) -> Option<(Micros, T)> {
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.what))
    }
}

impl<T> PartialEq for Scheduled<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<T> Eq for Scheduled<T> {}
impl<T> PartialOrd for Scheduled<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Scheduled<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // BinaryHeap is a max-heap: the earliest event must compare largest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
