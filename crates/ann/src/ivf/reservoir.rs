//! The nearest of very many, in no order.

use crate::near::Near;

/// Keeps the nearest `keep` of all it is offered, and some more.
pub(super) struct Reservoir {
    keep: usize,
    nears: Vec<Near>,
    worst: f32,
}

impl Reservoir {
    /// `keep > 0`.
    pub fn new(keep: usize) -> Self {
        Self { keep, nears: Vec::new(), worst: f32::INFINITY }
    }

    pub fn len(&self) -> usize {
        self.nears.len()
    }

    /// What is farther is not among the nearest, and need not be offered.
    #[inline]
    pub fn worst(&self) -> f32 {
        self.worst
    }

    #[inline]
    pub fn push(&mut self, near: Near) {
        self.nears.push(near);
        if self.nears.len() / 2 >= self.keep {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.nears.len() > self.keep {
            let (_, last, _) = self.nears.select_nth_unstable(self.keep - 1);
            self.worst = last.distance();
            self.nears.truncate(self.keep);
        }
    }

    /// The nearest `keep`.
    pub fn into_nearest(mut self) -> Vec<Near> {
        self.shrink();
        self.nears
    }
}
