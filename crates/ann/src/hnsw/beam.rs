//! The walk that finding and inserting share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::kernels::prefetch;
use crate::near::Near;

use super::Vectors;
use super::graph::Graph;

/// What a walk needs and the next one can use again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// One bit a node.
    visited: Vec<u64>,
    candidates: BinaryHeap<Reverse<Near>>,
    found: BinaryHeap<Near>,
    ahead: Vec<u32>,
}

impl Scratch {
    fn reset(&mut self, nodes: u32) {
        self.visited.clear();
        self.visited.resize((nodes as usize).div_ceil(64), 0);
        self.candidates.clear();
        self.found.clear();
    }

    /// Whether this is the first visit.
    #[inline]
    fn visit(&mut self, node: u32) -> bool {
        let word = &mut self.visited[node as usize / 64];
        let bit = 1 << (node % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// Where a walk goes, how wide it is, and how long at most.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub floor: usize,
    /// Accepted nodes it keeps.
    pub ef: usize,
    /// Distances after which it gives up.
    pub budget: usize,
}

impl Graph {
    /// Follows the links of a floor to ever nearer nodes, from one.
    pub(super) fn descend(&self, query: &[f32], mut at: Near, floor: usize, vectors: Vectors<'_>) -> Near {
        loop {
            let near = |node: &u32| Near::new(vectors.to(query, *node), *node);
            match self.links(at.id(), floor).iter().map(near).min() {
                Some(nearer) if nearer < at => at = nearer,
                _ => return at,
            }
        }
    }

    /// The `ef` nearest accepted nodes that a best-first walk finds (Alg. 2), nearest first.
    ///
    /// Nodes that are not accepted are walked over and do not count, so the walk widens by itself until it has `ef`
    /// accepted ones or has seen all. None if that would cost more than the budget.
    pub(super) fn beam(
        &self,
        query: &[f32],
        from: &[Near],
        walk: Walk,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Option<Vec<Near>> {
        scratch.reset(self.nodes());
        for near in from {
            scratch.visit(near.id());
            scratch.candidates.push(Reverse(*near));
            if accepts(near.id()) {
                keep(&mut scratch.found, *near, walk.ef);
            }
        }
        let mut spent = 0;
        let mut ahead = std::mem::take(&mut scratch.ahead);
        while let Some(Reverse(candidate)) = scratch.candidates.pop() {
            if scratch.found.len() >= walk.ef && scratch.found.peek().is_some_and(|worst| candidate > *worst) {
                break;
            }
            ahead.clear();
            for &node in self.links(candidate.id(), walk.floor) {
                if scratch.visit(node) {
                    prefetch(vectors.row(node));
                    ahead.push(node);
                }
            }
            spent += ahead.len();
            if spent > walk.budget {
                scratch.ahead = ahead;
                return None;
            }
            for &node in &ahead {
                let near = Near::new(vectors.to(query, node), node);
                let promising =
                    scratch.found.len() < walk.ef || scratch.found.peek().is_some_and(|worst| near < *worst);
                if promising {
                    scratch.candidates.push(Reverse(near));
                    if accepts(node) {
                        keep(&mut scratch.found, near, walk.ef);
                    }
                }
            }
        }
        scratch.ahead = ahead;
        Some(std::mem::take(&mut scratch.found).into_sorted_vec())
    }
}

fn keep(found: &mut BinaryHeap<Near>, near: Near, ef: usize) {
    found.push(near);
    if found.len() > ef {
        found.pop();
    }
}
