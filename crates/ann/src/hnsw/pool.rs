//! What a walk has found so far, nearest first.

use crate::kernels::Kernels;
use crate::kernels::insert::{Insert, MARK};
use crate::near::Near;

/// The nearest `room` of all it is offered, in order, each marked once it was followed.
#[derive(Default)]
pub(crate) struct Pool {
    /// As [`Near::bits`], those followed with [`MARK`]: nodes are numbered below it. [`NOTHING`] fills it up to `room`.
    sorted: Vec<u64>,
    /// All before this one were followed.
    next: usize,
    insert: Option<Insert>,
}

/// Further than all, and never to be followed.
const NOTHING: u64 = u64::MAX;

impl Pool {
    /// Forgets everything.
    pub fn reset(&mut self, room: usize, kernels: &Kernels) {
        self.sorted.clear();
        self.sorted.resize(room, NOTHING);
        self.next = room;
        self.insert = Some(kernels.insert);
    }

    /// How far away the last is that it would not give up for a nearer one.
    #[inline]
    pub fn worst(&self) -> f32 {
        match self.sorted.last() {
            Some(last) if *last != NOTHING => Near::from_bits(*last).distance(),
            _ => f32::INFINITY,
        }
    }

    /// Keeps it if it is among the nearest, and says at which place.
    #[inline]
    pub fn offer(&mut self, near: Near) -> Option<usize> {
        let (last, insert) = (self.sorted.last()?, self.insert?);
        (near.bits() < last & !MARK).then(|| {
            let at = insert(&mut self.sorted, near.bits());
            self.next = self.next.min(at);
            at
        })
    }

    /// The nearest that was not followed yet, and its place; it is followed now.
    #[inline]
    pub fn follow(&mut self) -> Option<(usize, Near)> {
        let at = self.first_to_follow()?;
        let near = self.sorted[at];
        self.sorted[at] |= MARK;
        self.next = at + 1;
        Some((at, Near::from_bits(near)))
    }

    /// Whose turn it would be.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        self.first_to_follow().map(|at| Near::from_bits(self.sorted[at]).id())
    }

    #[inline]
    fn first_to_follow(&self) -> Option<usize> {
        let left = self.sorted.get(self.next..)?;
        left.iter().position(|bits| bits & MARK == 0).map(|at| self.next + at)
    }

    /// Nearest first.
    pub fn nears(&self) -> impl Iterator<Item = Near> {
        self.sorted.iter().take_while(|bits| **bits != NOTHING).map(|bits| Near::from_bits(bits & !MARK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::InstructionSet;
    use crate::testing::Rng;

    /// Beside a list that is sorted anew each time. Distances are often equal, so that marks would matter if they counted.
    #[test]
    fn a_pool_keeps_the_nearest_and_follows_each_once() {
        for set in InstructionSet::ALL {
            let Ok(kernels) = set.kernels() else { continue };
            for room in (1..40).chain([200]) {
                let mut rng = Rng::new(room as u64);
                let mut pool = Pool::default();
                pool.reset(room, &kernels);
                let mut kept: Vec<(Near, bool)> = Vec::new();
                for id in 0..600 {
                    let near = Near::new(rng.below(30) as f32 - 15.0, id);
                    pool.offer(near);
                    kept.push((near, false));
                    kept.sort_unstable();
                    kept.truncate(room);
                    if rng.below(3) == 0 {
                        let next = kept.iter_mut().find(|(_, followed)| !followed);
                        assert_eq!(pool.peek(), next.as_ref().map(|(near, _)| near.id()));
                        assert_eq!(pool.follow().map(|(_, near)| near), next.as_ref().map(|(near, _)| *near));
                        next.into_iter().for_each(|(_, followed)| *followed = true);
                    }
                    assert!(pool.nears().eq(kept.iter().map(|(near, _)| *near)), "{set:?}, {room}");
                    let worst = if kept.len() == room { kept[room - 1].0.distance() } else { f32::INFINITY };
                    assert_eq!(pool.worst(), worst);
                }
            }
        }
    }
}
