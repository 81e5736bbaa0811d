//! The walk that finding and inserting share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bitset::BitSet;
use crate::kernels::prefetch;
use crate::near::Near;

use super::graph::Graph;
use super::measure::{Measure, Target};
use super::neighbours::Signs;
use super::patience::Patience;
use super::pool::Pool;

/// Links that are not accepted, and are looked behind, at most: more cost more than what they find is worth.
pub(super) const BRIDGES: usize = 8;

/// Accepted nodes that should have been met before it is believed that there are hardly any around; then a walk gives up if
/// less than one in so many was.
const EXPECTED: usize = 8;

/// What a walk needs and the next one can use again.
#[derive(Default)]
pub(crate) struct Scratch {
    pub target: Target,
    /// For distances beside those from the target.
    pub other: Target,
    pub pool: Pool,
    /// Those of a walk by estimates that were measured.
    pub shortlist: Pool,
    pub signs: Signs,
    pub seen: Seen,
}

/// Nodes that were seen.
#[derive(Default)]
pub(crate) struct Seen {
    nodes: BitSet,
    /// Those seen last, to be measured.
    ahead: Vec<u32>,
    /// Links that are not accepted.
    bridges: Vec<u32>,
}

impl Seen {
    pub fn reset(&mut self, nodes: u32) {
        self.nodes.reset(nodes as usize);
    }

    /// Whether this is the first time.
    #[inline]
    pub fn see(&mut self, node: u32) -> bool {
        self.nodes.insert(node)
    }

    #[inline]
    pub fn has(&self, node: u32) -> bool {
        self.nodes.has(node)
    }
}

/// Where a walk could go on.
pub(super) trait Frontier {
    /// Takes in what was met.
    fn offer(&mut self, near: Near);

    /// The nearest not followed yet, while it could lead to something nearer than what is kept.
    fn follow(&mut self) -> Option<Near>;
}

/// Follows the nearest of a pool while that finds something.
struct Beam<'a> {
    pool: &'a mut Pool,
    patience: Patience,
}

impl Frontier for Beam<'_> {
    #[inline]
    fn offer(&mut self, near: Near) {
        self.pool.offer(near);
    }

    #[inline]
    fn follow(&mut self) -> Option<Near> {
        let (place, near) = self.pool.follow()?;
        self.patience.step(Some(place)).then_some(near)
    }
}

/// Keeps the `ef` nearest accepted nodes. Others are followed and do not count, so a walk widens by itself until it has `ef`
/// accepted ones or has seen all; or gives up when it meets far fewer of them than there should be.
pub(super) struct Accepted<A> {
    ef: usize,
    accepts: A,
    /// Share of all nodes that should be accepted, one in so many.
    one_in: usize,
    found: BinaryHeap<Near>,
    candidates: BinaryHeap<Reverse<Near>>,
    /// Nodes that were near enough to be followed, and those of them that were accepted.
    admitted: usize,
    accepted: usize,
}

/// What became of a walk for accepted nodes.
pub(super) enum Walked {
    /// The nearest, nearest first.
    Found(Vec<Near>),
    /// It would have cost more than the budget.
    TooFar,
    /// What is accepted is not around here.
    Elsewhere,
}

impl<A: Fn(u32) -> bool> Accepted<A> {
    fn admits(&self, near: Near) -> bool {
        self.found.len() < self.ef || self.found.peek().is_some_and(|worst| near < *worst)
    }

    /// Whether so few of those followed were accepted that it cannot be by chance.
    fn is_elsewhere(&self) -> bool {
        let expected = self.admitted / self.one_in;
        expected >= EXPECTED && self.accepted * EXPECTED < expected
    }
}

impl<A: Fn(u32) -> bool> Frontier for Accepted<A> {
    fn offer(&mut self, near: Near) {
        if self.admits(near) {
            self.admitted += 1;
            self.candidates.push(Reverse(near));
            if (self.accepts)(near.id()) {
                self.accepted += 1;
                self.found.push(near);
                if self.found.len() > self.ef {
                    self.found.pop();
                }
            }
        }
    }

    fn follow(&mut self) -> Option<Near> {
        let Reverse(near) = self.candidates.pop()?;
        (self.admits(near) && !self.is_elsewhere()).then_some(near)
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

    /// The `ef` nearest nodes of a floor that a walk from `from` towards the scratch's target finds; they are in its pool. What the
    /// scratch has seen already is left out.
    pub(super) fn scout(
        &self,
        from: impl Iterator<Item = Near>,
        floor: usize,
        (ef, patience): (usize, Patience),
        measure: Measure<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { target, pool, seen, .. } = scratch;
        pool.reset(ef.min(self.nodes() as usize), measure.vectors.space.kernels());
        let mut beam = Beam { pool, patience };
        for near in from {
            if seen.see(near.id()) {
                beam.offer(near);
            }
        }
        self.walk(target, floor, usize::MAX, &mut beam, measure, seen);
    }

    /// The `ef` nearest accepted nodes of the lowest floor; one in `one_in` should be accepted.
    pub(super) fn search_accepted(
        &self,
        from: Near,
        (ef, one_in, budget): (usize, usize, usize),
        accepts: impl Fn(u32) -> bool,
        measure: Measure<'_>,
        scratch: &mut Scratch,
    ) -> Walked {
        let Scratch { target, seen, .. } = scratch;
        seen.reset(self.nodes());
        seen.see(from.id());
        let (found, candidates) = Default::default();
        let mut accepted = Accepted { ef, accepts, one_in, found, candidates, admitted: 0, accepted: 0 };
        accepted.offer(from);
        if !self.walk(target, 0, budget, &mut accepted, measure, seen) {
            return Walked::TooFar;
        }
        if accepted.is_elsewhere() { Walked::Elsewhere } else { Walked::Found(accepted.found.into_sorted_vec()) }
    }

    /// The nearest accepted nodes of the lowest floor that a walk over accepted nodes finds; they are in the scratch's pool. Links
    /// that are not accepted are bridges to those behind them (Patel et al., arXiv 2403.04871, "ACORN", 5.2). False if that would
    /// cost more distances than the budget.
    pub(super) fn scout_accepted(
        &self,
        from: &[u32],
        (ef, budget): (usize, usize),
        accepts: impl Fn(u32) -> bool,
        measure: Measure<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { target, pool, seen, .. } = scratch;
        seen.reset(self.nodes());
        pool.reset(ef.min(self.nodes() as usize), measure.vectors.space.kernels());
        let (mut ahead, mut bridges) = (std::mem::take(&mut seen.ahead), std::mem::take(&mut seen.bridges));
        ahead.clear();
        for &node in from {
            if !accepts(node) {
                self.gather(node, &accepts, seen, &mut ahead, &mut bridges);
            } else if seen.see(node) {
                ahead.push(node);
            }
        }
        let mut spent = 0;
        loop {
            spent += ahead.len();
            ahead.iter().for_each(|node| _ = pool.offer(measure.near(target, *node)));
            ahead.clear();
            let Some((_, near)) = pool.follow().filter(|_| spent <= budget) else { break };
            self.gather(near.id(), &accepts, seen, &mut ahead, &mut bridges);
            ahead.iter().for_each(|node| measure.prefetch(*node));
        }
        (seen.ahead, seen.bridges) = (ahead, bridges);
        spent <= budget
    }

    /// Adds accepted nodes that were not seen: those a node links to, and those behind a few others where these are rare.
    fn gather(
        &self,
        node: u32,
        accepts: &impl Fn(u32) -> bool,
        seen: &mut Seen,
        ahead: &mut Vec<u32>,
        bridges: &mut Vec<u32>,
    ) {
        bridges.clear();
        let links = self.links(node, 0);
        for &link in links {
            if seen.has(link) {
                continue;
            }
            if accepts(link) {
                seen.see(link);
                ahead.push(link);
            } else if bridges.len() < BRIDGES {
                bridges.push(link);
            }
        }
        bridges.iter().for_each(|bridge| prefetch(self.links(*bridge, 0)));
        for &bridge in &*bridges {
            seen.see(bridge);
            for &behind in self.links(bridge, 0) {
                if !seen.has(behind) && accepts(behind) {
                    seen.see(behind);
                    ahead.push(behind);
                }
            }
        }
    }
}
