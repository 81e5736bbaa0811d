//! What is asked of an approximate index.

use crate::neighbor::Neighbor;
use crate::params::SearchParams;
use crate::storage::vector_store::Vectors;

/// What is asked of a structure.
#[derive(Clone, Copy)]
pub(crate) struct SearchRequest<'a> {
    pub query: &'a [f32],
    /// Nodes wanted, 1 at least.
    pub k: usize,
    pub params: &'a SearchParams,
    /// Points that the structure holds.
    pub points: usize,
    /// About how many of them the filter matches; all where there is none.
    pub matching: usize,
    pub is_filtered: bool,
    pub scanning: ScanMode,
}

/// How a query is compared with all who match, where that is done by codes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScanMode {
    /// By sketches first, wherever they lie.
    Scattered,
    /// By sketches first, which were packed for earlier queries.
    Packed,
    /// With many other queries, by codes side by side.
    Batched,
}

impl SearchRequest<'_> {
    /// How many of all points hold so many that match, if these are spread evenly.
    pub fn spread(&self, matching: usize) -> usize {
        matching.saturating_mul(self.points) / self.matching.max(1)
    }

    /// How many of the nearest by codes are compared by their vectors, at most; `shortlist` where nothing is said.
    pub fn rerank_count(&self, shortlist: usize) -> usize {
        self.params.rerank.unwrap_or(shortlist).max(self.k)
    }

    /// Those found by codes, nearest first, by their vectors; where nothing is said, the first as many as are `rerank_cutoff`.
    pub fn rerank(
        &self,
        mut found: Vec<Neighbor>,
        rerank_cutoff: impl FnOnce(&[Neighbor]) -> usize,
        vectors: Vectors<'_>,
    ) -> Vec<Neighbor> {
        if self.params.rerank.is_none() {
            found.truncate(rerank_cutoff(&found));
        }
        vectors.rerank(self.query, &mut found);
        found
    }
}
