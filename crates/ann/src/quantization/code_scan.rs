//! Scans of single nodes by code.

use crate::metric::Space;
use crate::neighbor::{Neighbor, TopK, add_slack, distance, rank};
use crate::once_cell::RacyOnceCell;
use crate::search_request::SearchRequest;
use crate::selection::{for_each_within, retain_below, select_nth};
use crate::storage::vector_store::Vectors;

use super::{BinaryQuery, CodeBatch, Codes, PackedBinaryCodes, Query};

/// Codes between a prefetch and the comparison.
const PREFETCH_DISTANCE: usize = 8;

/// A query prepared for comparison with codes.
pub(crate) struct CodeScan<'a> {
    codes: &'a Codes,
    space: Space,
    rotated: Vec<f32>,
    query: Query,
}

impl<'a> CodeScan<'a> {
    pub fn new(codes: &'a Codes, vector: &[f32], space: Space) -> Self {
        let (mut rotated, mut query) = (Vec::new(), Query::default());
        codes.set_query_vector(vector, space.kernels(), &mut rotated, &mut query);
        Self { codes, space, rotated, query }
    }

    /// Keeps the nodes that may be among the `count` nearest by binary codes. `packed`: codes of these nodes, packed on
    /// first use and shared with other queries.
    pub fn prefilter(&self, nodes: &mut Vec<u32>, packed: Option<&RacyOnceCell<PackedBinaryCodes>>, count: usize) {
        if nodes.len() <= count {
            return;
        }
        let mut signs = BinaryQuery::default();
        self.codes.set_binary_query(&self.rotated, self.space.kernels(), &mut signs);
        let ranks = match packed {
            Some(packed) => {
                let packed = packed.get_or_compute(|| self.codes.pack_binary(nodes));
                self.codes.packed_binary_distances(&signs, packed, self.space)
            }
            None => self.codes.binary_distances(&signs, nodes, self.space),
        };
        let last = select_nth(&ranks, count - 1);
        let at = ranks.iter().position(|rank| *rank == last).expect("it is one of them");
        let node = nodes[at];
        let worst = rank(add_slack(distance(last), self.codes.binary_slack(&signs, node, self.space)));
        retain_below(nodes, &ranks, worst);
    }

    /// Calls `visit` with each node and its distance.
    pub fn for_each(&self, nodes: &[u32], mut visit: impl FnMut(Neighbor)) {
        for (at, node) in nodes.iter().enumerate() {
            nodes.get(at + PREFETCH_DISTANCE).into_iter().for_each(|next| self.codes.prefetch(*next));
            visit(Neighbor::new(self.codes.distance(&self.query, *node, self.space), *node));
        }
    }

    /// Calls `visit` with nodes that certainly include the `k` nearest by vector, and with their distances by vector.
    pub fn scan_exactly(
        &self,
        vector: &[f32],
        mut nodes: Vec<u32>,
        k: usize,
        vectors: Vectors<'_>,
        visit: impl FnMut(f32, u32),
    ) {
        if nodes.len() > k {
            let bound = self.codes.bound(&self.query, self.space);
            let (ranks, max_error) = self.codes.distances_with_errors(&self.query, &bound, &nodes, self.space);
            let worst = self.distance_bound(vector, &nodes, &ranks, k, vectors);
            // First with the largest error for all codes, which is one threshold of distance; then with the error of
            // each code.
            retain_below(&mut nodes, &ranks, bound.max_rank_within(worst, max_error));
            nodes.retain(|node| {
                let (distance, error) = self.codes.distance_with_error(&self.query, &bound, *node, self.space);
                bound.lower_bound(distance, error) <= worst
            });
        }
        vectors.for_each(vector, &nodes, visit);
    }

    /// Upper bound of the distance of the `k` nearest: the largest distance by vector among `k` nodes that are near by
    /// code.
    fn distance_bound(&self, vector: &[f32], nodes: &[u32], ranks: &[u32], k: usize, vectors: Vectors<'_>) -> f32 {
        let mut nodes_within = Vec::with_capacity(k);
        for_each_within(ranks, select_nth(ranks, k - 1), |at| nodes_within.push(nodes[at]));
        nodes_within.truncate(k);
        let mut farthest = f32::NEG_INFINITY;
        vectors.for_each(vector, &nodes_within, |distance, _| farthest = farthest.max(distance));
        farthest
    }

    /// Pushes the nodes of a batch that may be among the nearest.
    pub fn push_batch(&self, batch: &mut CodeBatch, nearest: &mut TopK) {
        self.codes
            .compare_batch(&self.query, batch, nearest.worst(), self.space, |nodes_within| nearest.push(nodes_within));
    }

    /// An empty list of the nodes to rerank by vector, at most.
    pub fn shortlist(&self, request: &SearchRequest<'_>) -> TopK {
        TopK::new(request.rerank_count(self.codes.shortlist(request.k)))
    }

    /// Reranks the nodes that may be among the nearest.
    pub fn finish(&self, request: &SearchRequest<'_>, shortlist: TopK, vectors: Vectors<'_>) -> Vec<Neighbor> {
        let rerank_cutoff = |sorted: &[Neighbor]| self.codes.rerank_cutoff(&self.query, sorted, request.k, self.space);
        request.rerank(shortlist.into_sorted(), rerank_cutoff, vectors)
    }
}
