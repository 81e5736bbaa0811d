//! Distances that can be ordered, and the k smallest of many.

use std::collections::BinaryHeap;

/// One point found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Which point.
    pub slot: u32,
    /// Smaller is nearer. Cosine and Dot: the negated inner product, so that no bit of the score is lost. Euclid: the
    /// distance (not squared). Manhattan: the sum of absolute differences. Where sums overflow `f32`, infinite.
    pub distance: f32,
}

/// A distance and whose it is, ordered by distance, then by id. Eight bytes that compare as one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Near(u64);

impl Near {
    /// `distance` is not NaN ([`crate::space::Space`] sees to it).
    #[inline]
    pub fn new(distance: f32, id: u32) -> Self {
        Self(u64::from(rank(distance)) << 32 | u64::from(id))
    }

    /// The integer that it compares as: the distance in the upper half, the id in the lower.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// As [`Self::bits`] told.
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

/// An integer that orders as the distance does, which is not NaN.
#[inline]
pub(crate) fn rank(distance: f32) -> u32 {
    let bits = distance.to_bits();
    // Flips all bits of negative numbers and the sign of the others.
    bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 0x8000_0000)
}

/// The distance that has a rank.
#[inline]
pub(crate) fn distance(rank: u32) -> f32 {
    let flip = if rank >> 31 == 1 { 0x8000_0000 } else { u32::MAX };
    f32::from_bits(rank ^ flip)
}

/// The largest distance that may be less than another, if that is off by as much as `slack`: any, where numbers overflow.
pub(crate) fn reach(distance: f32, slack: f32) -> f32 {
    let reach = distance + slack;
    if reach.is_nan() { f32::INFINITY } else { reach }
}

/// Numbers that are compared at once.
const LANES: usize = 8;

/// The smallest of some distances; infinite if none is a number.
#[inline]
pub(crate) fn smallest(distances: &[f32]) -> f32 {
    let (groups, rest) = distances.as_chunks::<LANES>();
    let lesser = |a: f32, b: f32| if b < a { b } else { a };
    let mut lanes = [f32::INFINITY; LANES];
    for group in groups {
        lanes.iter_mut().zip(group).for_each(|(least, x)| *least = lesser(*least, *x));
    }
    lanes.iter().chain(rest).fold(f32::INFINITY, |least, x| lesser(least, *x))
}

/// Which of some distances or ranks, 32 at most, are no farther than `worst`: number `i` as bit `i`.
#[inline]
pub(crate) fn within<T: PartialOrd>(distances: &[T], worst: T) -> u32 {
    (0..).zip(distances).fold(0, |met, (i, distance)| met | u32::from(*distance <= worst) << i)
}

/// The places of the bits that are set.
#[inline]
pub(crate) fn places(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        let is_there = bits != 0;
        bits &= bits.wrapping_sub(1);
        is_there.then_some(place)
    })
}

/// Ranks of which one is looked at to know about how large the least are.
const SAMPLED: usize = 16;
/// Ranks that are sorted for each that is wanted, and of the sample beyond: enough, but for ill luck.
const SORTED: usize = 2;
const BEYOND: usize = 8;

/// The one that `nth` are before in ascending order; there must be more than `nth`.
pub(crate) fn nth_least(ranks: &[u32], nth: usize) -> u32 {
    let mut sample: Vec<u32> = ranks.iter().step_by(SAMPLED).copied().collect();
    let at = (SORTED * nth / SAMPLED + BEYOND).min(sample.len() - 1);
    let bound = *sample.select_nth_unstable(at).1;
    let mut least = Vec::new();
    each_within(ranks, bound, |at| least.push(ranks[at]));
    if least.len() <= nth {
        least = ranks.to_vec();
    }
    *least.select_nth_unstable(nth).1
}

/// Leaves the nodes whose rank, at the same place, is `worst` at most.
pub(crate) fn keep_least(nodes: &mut Vec<u32>, ranks: &[u32], worst: u32) {
    let mut stay = 0;
    each_within(ranks, worst, |at| {
        nodes[stay] = nodes[at];
        stay += 1;
    });
    nodes.truncate(stay);
}

/// Calls `meet` with the place of each rank that is `worst` at most. They are few, so most groups hold none, which one look tells.
#[inline]
pub(crate) fn each_within(ranks: &[u32], worst: u32, mut meet: impl FnMut(usize)) {
    const GROUP: usize = 16;
    for (nth, group) in ranks.chunks(GROUP).enumerate() {
        places(within(group, worst)).for_each(|i| meet(nth * GROUP + i));
    }
}

/// Keeps the `k` nearest of all it is offered.
pub(crate) struct Nearest {
    k: usize,
    heap: BinaryHeap<Near>,
    /// What is farther is not kept.
    worst: f32,
}

/// Entries for which there is room at once.
const ROOM: usize = 64;

impl Nearest {
    pub fn new(k: usize) -> Self {
        let worst = if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        Self { k, heap: BinaryHeap::with_capacity(k.min(ROOM)), worst }
    }

    /// How many it keeps.
    pub fn k(&self) -> usize {
        self.k
    }

    /// What is farther is not kept.
    pub fn worst(&self) -> f32 {
        self.worst
    }

    /// Whether one at such a distance may be kept.
    #[inline]
    pub fn admits(&self, distance: f32) -> bool {
        distance <= self.worst
    }

    #[inline]
    pub fn offer(&mut self, near: Near) {
        if self.heap.len() < self.k {
            self.heap.push(near);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && near < *worst
        {
            *worst = near;
        } else {
            return;
        }
        if self.heap.len() == self.k {
            self.worst = self.heap.peek().map_or(self.worst, |worst| worst.distance());
        }
    }

    /// Nearest first, ties by id.
    pub fn into_sorted(self) -> Vec<Near> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn integers_order_as_the_distances_do() {
        let distances = [f32::NEG_INFINITY, -3.4e38, -1.0, -1e-45, 0.0, 1e-45, 0.1, 1.0, 3.4e38, f32::INFINITY];
        for (i, a) in distances.iter().enumerate() {
            assert_eq!(Near::new(*a, 7).distance().to_bits(), a.to_bits());
            assert_eq!(Near::new(*a, 7).id(), 7);
            for (j, b) in distances.iter().enumerate() {
                assert_eq!(Near::new(*a, 5).cmp(&Near::new(*b, 5)), i.cmp(&j), "{a} beside {b}");
            }
        }
        assert!(Near::new(1.0, 2) < Near::new(1.0, 3), "ties go to the smaller id");
    }

    #[test]
    fn the_k_nearest_are_kept_in_order() {
        let mut nearest = Nearest::new(3);
        for (id, distance) in [(9, 2.0), (1, 5.0), (2, 1.0), (3, 2.0), (4, 9.0)] {
            assert_eq!(nearest.admits(distance), id != 4, "{id}");
            nearest.offer(Near::new(distance, id));
        }
        assert!(nearest.admits(2.0) && !nearest.admits(2.1), "who is as far as the last one may go before it");
        assert!(!Nearest::new(0).admits(0.0));
        assert_eq!(nearest.into_sorted().iter().map(|n| n.id()).collect::<Vec<_>>(), [2, 3, 9]);
    }

    #[test]
    fn places_are_those_of_what_is_near() {
        let distances = [3.0, f32::INFINITY, -1.0, 3.5, f32::NEG_INFINITY, 0.0];
        assert_eq!(places(within(&distances, 3.0)).collect::<Vec<_>>(), [0, 2, 4, 5]);
        assert_eq!(places(u32::MAX).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
        assert_eq!((places(0).count(), smallest(&distances[..4]), smallest(&[])), (0, -1.0, f32::INFINITY));
        assert_eq!(smallest(&[[5.0; 9], [2.0; 9]].concat()), 2.0);
    }

    #[test]
    fn the_nth_least_is_that_of_a_sorted_list() {
        let mut rng = Rng::new(1);
        for len in (1..200).chain([512, 5_000]) {
            for most in [1, 10, 1 << 20] {
                // In no order, and with what a sample of every 16th would think of.
                let ranks: Vec<u32> =
                    (0..len).map(|i| rng.below(most) as u32 + if i % SAMPLED == 0 { 0 } else { 7 }).collect();
                let mut sorted = ranks.clone();
                sorted.sort_unstable();
                for nth in [0, len / 50, len / 2, len - 1] {
                    assert_eq!(nth_least(&ranks, nth), sorted[nth], "{nth} of {len}");
                }
            }
        }
    }
}
