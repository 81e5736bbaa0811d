//! The memory budget of all requests in flight: bodies, decoded values, and responses until they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_api::http::Budget;

/// Bytes not reserved.
#[derive(Debug)]
pub struct MemoryBudget(AtomicUsize);

/// A part of the budget, released when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    /// An empty reservation.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Budget for MemoryBudget {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

impl Reservation {
    /// Reserves more bytes; false, and nothing changes, when the budget lacks them.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.budget.take(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Reserved bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds bytes that were already taken from the budget.
    pub fn add_taken(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Releases a part.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.release(bytes);
    }

    /// The budget of this reservation.
    pub fn budget(&self) -> Arc<MemoryBudget> {
        Arc::clone(&self.budget)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_never_exceed_the_budget_and_are_released() {
        let budget = MemoryBudget::new(100);
        let (mut a, mut b) = (budget.reservation(), budget.reservation());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40) && !a.grow(1));
        a.shrink(10);
        assert!(b.grow(10) && !b.grow(1));
        drop(b);
        assert!(a.grow(50));
        drop(a);
        assert!(budget.take(100));
    }
}
