//! One budget of memory for all requests in flight: bodies, what they become, and answers until they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_api::http::Budget;

/// Bytes that are left.
#[derive(Debug)]
pub struct Memory(AtomicUsize);

/// A share of the budget; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Budget for Memory {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

impl Share {
    /// Whether so much more was there.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.memory.take(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what was taken of the budget by another way.
    pub fn adopt(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Gives a part back.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.give_back(bytes);
    }

    /// The budget it is a share of.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let memory = Memory::new(100);
        let (mut a, mut b) = (memory.share(), memory.share());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40) && !a.grow(1));
        a.shrink(10);
        assert!(b.grow(10) && !b.grow(1));
        drop(b);
        assert!(a.grow(50));
        drop(a);
        assert!(memory.take(100));
    }
}
