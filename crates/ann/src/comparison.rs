//! A query compared with single nodes by their codes.

use crate::codes::{Codes, Lot, PackedSigns, Query, SignQuery};
use crate::near::{Near, Nearest, distance, each_within, keep_least, nth_least, rank, reach};
use crate::once::Once;
use crate::space::Space;
use crate::structure::{Ask, Vectors};

/// Codes asked for before the one that is compared.
const CODES_AHEAD: usize = 8;

/// A query as the codes of nodes are compared with it.
pub(crate) struct Comparison<'a> {
    codes: &'a Codes,
    space: Space,
    rotated: Vec<f32>,
    query: Query,
}

impl<'a> Comparison<'a> {
    pub fn new(codes: &'a Codes, vector: &[f32], space: Space) -> Self {
        let (mut rotated, mut query) = (Vec::new(), Query::default());
        codes.aim_at_vector(vector, space.kernels(), &mut rotated, &mut query);
        Self { codes, space, rotated, query }
    }

    /// Leaves those nodes that may be among the `count` nearest, by a bit a number; `packed`: where their sketches are packed for others.
    pub fn sift(&self, nodes: &mut Vec<u32>, packed: Option<&Once<PackedSigns>>, count: usize) {
        if nodes.len() <= count {
            return;
        }
        let mut signs = SignQuery::default();
        self.codes.aim_signs(&self.rotated, self.space.kernels(), &mut signs);
        let ranks = match packed {
            Some(packed) => {
                let packed = packed.of(|| self.codes.pack_sketches(nodes));
                self.codes.packed_sketches(&signs, packed, self.space)
            }
            None => self.codes.sketches(&signs, nodes, self.space),
        };
        let last = nth_least(&ranks, count - 1);
        let at = ranks.iter().position(|rank| *rank == last).expect("it is one of them");
        let node = nodes[at];
        let worst = rank(reach(distance(last), self.codes.sketch_slack(&signs, node, self.space)));
        keep_least(nodes, &ranks, worst);
    }

    /// Calls `meet` with each of the nodes and its distance.
    pub fn each(&self, nodes: &[u32], mut meet: impl FnMut(Near)) {
        for (at, node) in nodes.iter().enumerate() {
            nodes.get(at + CODES_AHEAD).into_iter().for_each(|next| self.codes.prefetch(*next));
            meet(Near::new(self.codes.distance(&self.query, *node, self.space), *node));
        }
    }

    /// Calls `meet` with nodes that hold the `k` nearest by vectors for certain, and their distances by vectors.
    pub fn each_possible(
        &self,
        vector: &[f32],
        mut nodes: Vec<u32>,
        k: usize,
        vectors: Vectors<'_>,
        meet: impl FnMut(f32, u32),
    ) {
        if nodes.len() > k {
            let bound = self.codes.bound(&self.query, self.space);
            let (ranks, worst_off) = self.codes.compare_all(&self.query, &bound, &nodes, self.space);
            let worst = self.farthest_of_some(vector, &nodes, &ranks, k, vectors);
            // First as if all codes were as wrong as the worst, which is one distance for all; what is left, each by its own.
            keep_least(&mut nodes, &ranks, bound.last_within(worst, worst_off));
            nodes.retain(|node| {
                let (distance, off) = self.codes.compared(&self.query, &bound, *node, self.space);
                bound.least(distance, off) <= worst
            });
        }
        vectors.each(vector, &nodes, meet);
    }

    /// The distance by vectors of the farthest of `k` nodes that are near by codes: the nearest `k` are no farther.
    fn farthest_of_some(&self, vector: &[f32], nodes: &[u32], ranks: &[u32], k: usize, vectors: Vectors<'_>) -> f32 {
        let mut near = Vec::with_capacity(k);
        each_within(ranks, nth_least(ranks, k - 1), |at| near.push(nodes[at]));
        near.truncate(k);
        let mut farthest = f32::NEG_INFINITY;
        vectors.each(vector, &near, |distance, _| farthest = farthest.max(distance));
        farthest
    }

    /// Offers those of a lot that may be among the nearest.
    pub fn each_of(&self, lot: &mut Lot, nearest: &mut Nearest) {
        self.codes.compare(&self.query, lot, nearest.worst(), self.space, |near| nearest.offer(near));
    }

    /// Room for the nearest that are to be compared by their vectors, at most.
    pub fn shortlist(&self, ask: &Ask<'_>) -> Nearest {
        Nearest::new(ask.rerank(self.codes.shortlist(ask.k)))
    }

    /// Those that may be the nearest, by their vectors.
    pub fn end(&self, ask: &Ask<'_>, shortlist: Nearest, vectors: Vectors<'_>) -> Vec<Near> {
        let plausible = |sorted: &[Near]| self.codes.plausible(&self.query, sorted, ask.k, self.space);
        ask.compare_again(shortlist.into_sorted(), plausible, vectors)
    }
}
