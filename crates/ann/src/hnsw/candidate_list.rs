//! The sorted candidate list of a beam search.

use crate::kernels::Kernels;
use crate::kernels::insert::{Insert, MARK};
use crate::neighbor::Neighbor;

/// The nearest `capacity` of all neighbors pushed, in order, each marked once it was expanded.
#[derive(Default)]
pub(crate) struct CandidateList {
    /// As [`Neighbor::bits`]; expanded ones have [`MARK`], which node numbers stay below. Filled up to `capacity` with
    /// [`EMPTY`].
    sorted: Vec<u64>,
    /// All before this position are expanded.
    next: usize,
    insert: Option<Insert>,
}

/// Farther than all neighbors, and marked as expanded.
const EMPTY: u64 = u64::MAX;

impl CandidateList {
    /// Empties the list.
    pub fn reset(&mut self, capacity: usize, kernels: &Kernels) {
        self.sorted.clear();
        self.sorted.resize(capacity, EMPTY);
        self.next = capacity;
        self.insert = Some(kernels.insert);
    }

    /// Distance beyond which a neighbor is not kept.
    #[inline]
    pub fn worst(&self) -> f32 {
        match self.sorted.last() {
            Some(last) if *last != EMPTY => Neighbor::from_bits(*last).distance(),
            _ => f32::INFINITY,
        }
    }

    /// Keeps a neighbor if it is among the nearest, and returns its position.
    #[inline]
    pub fn push(&mut self, neighbor: Neighbor) -> Option<usize> {
        let (last, insert) = (self.sorted.last()?, self.insert?);
        (neighbor.bits() < last & !MARK).then(|| {
            let at = insert(&mut self.sorted, neighbor.bits());
            self.next = self.next.min(at);
            at
        })
    }

    /// Marks the nearest neighbor that was not expanded yet, and returns it with its position.
    #[inline]
    pub fn pop_nearest_unexpanded(&mut self) -> Option<(usize, Neighbor)> {
        let at = self.first_unexpanded()?;
        let neighbor = self.sorted[at];
        self.sorted[at] |= MARK;
        self.next = at + 1;
        Some((at, Neighbor::from_bits(neighbor)))
    }

    /// Node that [`Self::pop_nearest_unexpanded`] would return.
    #[inline]
    pub fn peek_nearest_unexpanded(&self) -> Option<u32> {
        self.first_unexpanded().map(|at| Neighbor::from_bits(self.sorted[at]).id())
    }

    #[inline]
    fn first_unexpanded(&self) -> Option<usize> {
        let left = self.sorted.get(self.next..)?;
        left.iter().position(|bits| bits & MARK == 0).map(|at| self.next + at)
    }

    /// Nearest first.
    pub fn neighbors(&self) -> impl Iterator<Item = Neighbor> {
        self.sorted.iter().take_while(|bits| **bits != EMPTY).map(|bits| Neighbor::from_bits(bits & !MARK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::InstructionSet;
    use crate::testing::Rng;

    /// Compared with a list that is sorted anew each time. Distances are often equal, so that marks would change the
    /// order if they counted.
    #[test]
    fn a_list_keeps_the_nearest_and_expands_each_once() {
        for set in InstructionSet::ALL {
            let Ok(kernels) = set.kernels() else { continue };
            for capacity in (1..40).chain([200]) {
                let mut rng = Rng::new(capacity as u64);
                let mut pool = CandidateList::default();
                pool.reset(capacity, &kernels);
                let mut kept: Vec<(Neighbor, bool)> = Vec::new();
                for id in 0..600 {
                    let neighbor = Neighbor::new(rng.below(30) as f32 - 15.0, id);
                    pool.push(neighbor);
                    kept.push((neighbor, false));
                    kept.sort_unstable();
                    kept.truncate(capacity);
                    if rng.below(3) == 0 {
                        let next = kept.iter_mut().find(|(_, followed)| !followed);
                        assert_eq!(pool.peek_nearest_unexpanded(), next.as_ref().map(|(neighbor, _)| neighbor.id()));
                        assert_eq!(
                            pool.pop_nearest_unexpanded().map(|(_, neighbor)| neighbor),
                            next.as_ref().map(|(neighbor, _)| *neighbor)
                        );
                        next.into_iter().for_each(|(_, followed)| *followed = true);
                    }
                    assert!(pool.neighbors().eq(kept.iter().map(|(neighbor, _)| *neighbor)), "{set:?}, {capacity}");
                    let worst = if kept.len() == capacity { kept[capacity - 1].0.distance() } else { f32::INFINITY };
                    assert_eq!(pool.worst(), worst);
                }
            }
        }
    }
}
