//! Selection of the nearest of very many, in no order.

use crate::neighbor::Neighbor;

/// Keeps the nearest `keep` of all neighbors pushed, and up to as many others.
pub(super) struct Reservoir {
    keep: usize,
    neighbors: Vec<Neighbor>,
    worst: f32,
}

impl Reservoir {
    /// `keep > 0`.
    pub fn new(keep: usize) -> Self {
        Self { keep, neighbors: Vec::new(), worst: f32::INFINITY }
    }

    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Farther neighbors are not among the nearest and need not be pushed.
    #[inline]
    pub fn worst(&self) -> f32 {
        self.worst
    }

    #[inline]
    pub fn push(&mut self, neighbor: Neighbor) {
        self.neighbors.push(neighbor);
        if self.neighbors.len() / 2 >= self.keep {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.neighbors.len() > self.keep {
            let (_, last, _) = self.neighbors.select_nth_unstable(self.keep - 1);
            self.worst = last.distance();
            self.neighbors.truncate(self.keep);
        }
    }

    /// The nearest `keep`.
    pub fn into_nearest(mut self) -> Vec<Neighbor> {
        self.shrink();
        self.neighbors
    }
}
