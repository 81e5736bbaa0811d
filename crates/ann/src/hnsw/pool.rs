//! What a walk has found so far, nearest first.

use crate::near::Near;

/// The nearest `room` of all it is offered, in order, each marked once it was followed.
#[derive(Default)]
pub(crate) struct Pool {
    /// As [`Near::bits`], the highest bit of the id saying that it was followed.
    sorted: Vec<u64>,
    room: usize,
    /// All before this one were followed.
    next: usize,
}

/// Nodes are numbered below this.
const FOLLOWED: u64 = 1 << 31;

impl Pool {
    /// Forgets everything.
    pub fn reset(&mut self, room: usize) {
        self.sorted.clear();
        self.room = room;
        self.next = 0;
    }

    /// Whether it would keep what is this far away.
    #[inline]
    pub fn admits(&self, near: Near) -> bool {
        self.sorted.len() < self.room || self.sorted.last().is_some_and(|last| near.bits() < *last)
    }

    /// How far away the last is that it would not give up for a nearer one.
    #[inline]
    pub fn worst(&self) -> f32 {
        match self.sorted.last() {
            Some(last) if self.sorted.len() == self.room => Near::from_bits(*last).distance(),
            _ => f32::INFINITY,
        }
    }

    /// Keeps it if it is among the nearest.
    #[inline]
    pub fn offer(&mut self, near: Near) {
        if !self.admits(near) {
            return;
        }
        let at = self.sorted.partition_point(|x| *x < near.bits());
        if self.sorted.len() == self.room {
            self.sorted.pop();
        }
        self.sorted.insert(at, near.bits());
        self.next = self.next.min(at);
    }

    /// The nearest that was not followed yet; it is now.
    #[inline]
    pub fn follow(&mut self) -> Option<Near> {
        let at = self.first_to_follow()?;
        let near = self.sorted[at];
        self.sorted[at] |= FOLLOWED;
        self.next = at + 1;
        Some(Near::from_bits(near))
    }

    /// Whose turn it would be.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        self.first_to_follow().map(|at| Near::from_bits(self.sorted[at]).id())
    }

    #[inline]
    fn first_to_follow(&self) -> Option<usize> {
        (self.next..self.sorted.len()).find(|at| self.sorted[*at] & FOLLOWED == 0)
    }

    /// Nearest first.
    pub fn nears(&self) -> impl Iterator<Item = Near> {
        self.sorted.iter().map(|bits| Near::from_bits(bits & !FOLLOWED))
    }
}
