//! The walk that finding and inserting share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::near::Near;

use super::graph::Graph;
use super::measure::{Measure, Target};
use super::neighbours::Signs;
use super::pool::Pool;

/// What a walk needs and the next one can use again.
#[derive(Default)]
pub(crate) struct Scratch {
    pub target: Target,
    /// For distances beside those from the target.
    pub other: Target,
    pub pool: Pool,
    pub signs: Signs,
    pub seen: Seen,
}

/// Nodes that were seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// One bit each.
    bits: Vec<u64>,
    /// Those seen last, to be measured.
    ahead: Vec<u32>,
}

impl Seen {
    pub fn reset(&mut self, nodes: u32) {
        self.bits.clear();
        self.bits.resize((nodes as usize).div_ceil(64), 0);
    }

    /// Whether this is the first time.
    #[inline]
    pub fn see(&mut self, node: u32) -> bool {
        let word = &mut self.bits[node as usize / 64];
        let bit = 1 << (node % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    #[inline]
    pub fn has(&self, node: u32) -> bool {
        self.bits[node as usize / 64] >> (node % 64) & 1 == 1
    }
}

/// Where a walk could go on.
pub(super) trait Frontier {
    /// Takes in what was met.
    fn offer(&mut self, near: Near);

    /// The nearest not followed yet, while it could lead to something nearer than what is kept.
    fn follow(&mut self) -> Option<Near>;
}

impl Frontier for Pool {
    #[inline]
    fn offer(&mut self, near: Near) {
        Pool::offer(self, near);
    }

    #[inline]
    fn follow(&mut self) -> Option<Near> {
        Pool::follow(self)
    }
}

/// Keeps the `ef` nearest accepted nodes. Others are followed and do not count, so a walk widens by itself until it has `ef`
/// accepted ones or has seen all.
pub(super) struct Accepted<A> {
    pub ef: usize,
    pub accepts: A,
    pub found: BinaryHeap<Near>,
    candidates: BinaryHeap<Reverse<Near>>,
}

impl<A: Fn(u32) -> bool> Accepted<A> {
    pub fn new(ef: usize, accepts: A) -> Self {
        Self { ef, accepts, found: BinaryHeap::new(), candidates: BinaryHeap::new() }
    }

    fn admits(&self, near: Near) -> bool {
        self.found.len() < self.ef || self.found.peek().is_some_and(|worst| near < *worst)
    }
}

impl<A: Fn(u32) -> bool> Frontier for Accepted<A> {
    fn offer(&mut self, near: Near) {
        if self.admits(near) {
            self.candidates.push(Reverse(near));
            if (self.accepts)(near.id()) {
                self.found.push(near);
                if self.found.len() > self.ef {
                    self.found.pop();
                }
            }
        }
    }

    fn follow(&mut self) -> Option<Near> {
        let Reverse(near) = self.candidates.pop()?;
        self.admits(near).then_some(near)
    }
}

impl Graph {
    /// Follows the links of a floor to ever nearer nodes, from one.
    pub(super) fn descend(&self, target: &Target, mut at: Near, floor: usize, measure: Measure<'_>) -> Near {
        loop {
            let links = self.links(at.id(), floor);
            links.iter().for_each(|node| measure.prefetch(*node));
            match links.iter().map(|node| measure.near(target, *node)).min() {
                Some(nearer) if nearer < at => at = nearer,
                _ => return at,
            }
        }
    }

    /// From the entry down to `floor`, the nearest node by greedy descent; none in an empty graph.
    pub(super) fn land(&self, target: &Target, floor: usize, measure: Measure<'_>) -> Option<Near> {
        let entry = self.entry?;
        let at = measure.near(target, entry);
        Some((floor + 1..=self.level(entry)).rev().fold(at, |at, floor| self.descend(target, at, floor, measure)))
    }

    /// Walks a floor, best first (Alg. 2), from what the frontier has been offered; false if that would cost more distances than
    /// the budget.
    pub(super) fn walk(
        &self,
        target: &Target,
        floor: usize,
        budget: usize,
        frontier: &mut impl Frontier,
        measure: Measure<'_>,
        seen: &mut Seen,
    ) -> bool {
        let mut spent = 0;
        let mut ahead = std::mem::take(&mut seen.ahead);
        while let Some(near) = frontier.follow() {
            ahead.clear();
            for &node in self.links(near.id(), floor) {
                if seen.see(node) {
                    measure.prefetch(node);
                    ahead.push(node);
                }
            }
            spent += ahead.len();
            if spent > budget {
                break;
            }
            ahead.iter().for_each(|node| frontier.offer(measure.near(target, *node)));
        }
        seen.ahead = ahead;
        spent <= budget
    }

    /// The `ef` nearest nodes of a floor that a walk from `from` towards the scratch's target finds; they are in its pool.
    pub(super) fn scout(
        &self,
        from: impl Iterator<Item = Near>,
        floor: usize,
        ef: usize,
        measure: Measure<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { target, pool, seen, .. } = scratch;
        seen.reset(self.nodes());
        pool.reset(ef);
        for near in from {
            if seen.see(near.id()) {
                pool.offer(near);
            }
        }
        self.walk(target, floor, usize::MAX, pool, measure, seen);
    }

    /// The `ef` nearest accepted nodes of the lowest floor, nearest first; none if that would cost more than the budget.
    pub(super) fn search_accepted(
        &self,
        from: Near,
        ef: usize,
        budget: usize,
        accepts: impl Fn(u32) -> bool,
        measure: Measure<'_>,
        scratch: &mut Scratch,
    ) -> Option<Vec<Near>> {
        let Scratch { target, seen, .. } = scratch;
        seen.reset(self.nodes());
        seen.see(from.id());
        let mut accepted = Accepted::new(ef, accepts);
        accepted.offer(from);
        let is_complete = self.walk(target, 0, budget, &mut accepted, measure, seen);
        is_complete.then(|| accepted.found.into_sorted_vec())
    }
}
