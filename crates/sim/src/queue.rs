//! What is to happen, in the order of time and then of being planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::clock::Micros;

/// A queue of things to happen.
pub struct Queue<T> {
    heap: BinaryHeap<Planned<T>>,
    planned: u64,
}

struct Planned<T> {
    at: Micros,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    /// Nothing is to happen.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans something.
    pub fn push(&mut self, at: Micros, what: T) {
        self.planned += 1;
        self.heap.push(Planned { at, number: self.planned, what });
    }

    /// What happens next, and when.
    pub fn pop(&mut self) -> Option<(Micros, T)> {
        self.heap.pop().map(|planned| (planned.at, planned.what))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<T> Eq for Planned<T> {}
impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the largest first: the earliest is the largest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
