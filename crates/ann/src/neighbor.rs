//! Distances with a total order, and the `k` smallest of many.

use std::collections::BinaryHeap;

/// One result of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Slot of the point.
    pub slot: u32,
    /// Smaller is nearer. Cosine and Dot: the negated inner product, so that no bit of the score is lost. Euclid: the
    /// distance (not squared). Manhattan: the sum of absolute differences. Infinite where sums overflow `f32`.
    pub distance: f32,
}

/// A distance and an id (node or slot), ordered by distance, then by id. Eight bytes that compare as one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbor(u64);

impl Neighbor {
    /// `distance` must not be NaN; [`crate::metric::Space`] never returns one.
    #[inline]
    pub fn new(distance: f32, id: u32) -> Self {
        Self(u64::from(rank(distance)) << 32 | u64::from(id))
    }

    /// The integer representation: distance in the upper half, id in the lower.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Inverse of [`Self::bits`].
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub fn id(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub fn distance(self) -> f32 {
        distance((self.0 >> 32) as u32)
    }
}

/// Maps a distance to an integer of the same order. NaN is not allowed.
#[inline]
pub(crate) fn rank(distance: f32) -> u32 {
    let bits = distance.to_bits();
    // Flips all bits of negative numbers and the sign of the others.
    bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 0x8000_0000)
}

/// Inverse of [`rank`].
#[inline]
pub(crate) fn distance(rank: u32) -> f32 {
    let flip = if rank >> 31 == 1 { 0x8000_0000 } else { u32::MAX };
    f32::from_bits(rank ^ flip)
}

/// Upper bound of distances that may be below `distance` if each has an error up to `slack`. Infinite where numbers
/// overflow.
pub(crate) fn add_slack(distance: f32, slack: f32) -> f32 {
    let add_slack = distance + slack;
    if add_slack.is_nan() { f32::INFINITY } else { add_slack }
}

/// Keeps the `k` nearest of all neighbors pushed.
pub(crate) struct TopK {
    k: usize,
    heap: BinaryHeap<Neighbor>,
    /// Neighbors farther than this are not kept.
    worst: f32,
}

/// Capacity that is allocated up front, at most.
const INITIAL_CAPACITY: usize = 64;

impl TopK {
    pub fn new(k: usize) -> Self {
        let worst = if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        Self { k, heap: BinaryHeap::with_capacity(k.min(INITIAL_CAPACITY)), worst }
    }

    /// Number of neighbors to keep.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Neighbors farther than this are not kept.
    pub fn worst(&self) -> f32 {
        self.worst
    }

    /// Whether a neighbor at this distance may be kept.
    #[inline]
    pub fn admits(&self, distance: f32) -> bool {
        distance <= self.worst
    }

    #[inline]
    pub fn push(&mut self, neighbor: Neighbor) {
        if self.heap.len() < self.k {
            self.heap.push(neighbor);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && neighbor < *worst
        {
            *worst = neighbor;
        } else {
            return;
        }
        if self.heap.len() == self.k {
            self.worst = self.heap.peek().map_or(self.worst, |worst| worst.distance());
        }
    }

    /// Nearest first, ties by id.
    pub fn into_sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_order_as_the_distances_do() {
        let distances = [f32::NEG_INFINITY, -3.4e38, -1.0, -1e-45, 0.0, 1e-45, 0.1, 1.0, 3.4e38, f32::INFINITY];
        for (i, a) in distances.iter().enumerate() {
            assert_eq!(Neighbor::new(*a, 7).distance().to_bits(), a.to_bits());
            assert_eq!(Neighbor::new(*a, 7).id(), 7);
            for (j, b) in distances.iter().enumerate() {
                assert_eq!(Neighbor::new(*a, 5).cmp(&Neighbor::new(*b, 5)), i.cmp(&j), "{a} beside {b}");
            }
        }
        assert!(Neighbor::new(1.0, 2) < Neighbor::new(1.0, 3), "ties go to the smaller id");
    }

    #[test]
    fn the_k_nearest_are_sorted() {
        let mut nearest = TopK::new(3);
        for (id, distance) in [(9, 2.0), (1, 5.0), (2, 1.0), (3, 2.0), (4, 9.0)] {
            assert_eq!(nearest.admits(distance), id != 4, "{id}");
            nearest.push(Neighbor::new(distance, id));
        }
        assert!(nearest.admits(2.0) && !nearest.admits(2.1), "ties at the worst distance may be kept");
        assert!(!TopK::new(0).admits(0.0));
        assert_eq!(nearest.into_sorted().iter().map(|n| n.id()).collect::<Vec<_>>(), [2, 3, 9]);
    }
}
