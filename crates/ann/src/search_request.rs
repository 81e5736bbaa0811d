//! Requests to an approximate index.

use crate::neighbor::Neighbor;
use crate::params::SearchParams;
use crate::storage::vector_store::Vectors;

/// One query with its parameters, and the numbers that the planner needs.
#[derive(Clone, Copy)]
pub(crate) struct SearchRequest<'a> {
    pub query: &'a [f32],
    /// Number of neighbors, at least 1.
    pub k: usize,
    pub params: &'a SearchParams,
    /// Number of points in the index.
    pub points: usize,
    /// Number of points that match, estimated or exact; all without a filter.
    pub matching: usize,
    pub is_filtered: bool,
    pub scanning: ScanMode,
}

/// How a scan of all matching points reads codes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScanMode {
    /// Binary codes first, where they lie in memory.
    Scattered,
    /// Binary codes first, packed for earlier queries with the same filter.
    Packed,
    /// Codes transposed in batches, for many queries at once.
    Batched,
}

impl SearchRequest<'_> {
    /// Number of nearest points that contain so many matches, if matches are evenly spread.
    pub fn spread(&self, matching: usize) -> usize {
        matching.saturating_mul(self.points) / self.matching.max(1)
    }

    /// Upper limit of points to rerank by vector; `shortlist` is the default.
    pub fn rerank_count(&self, shortlist: usize) -> usize {
        self.params.rerank.unwrap_or(shortlist).max(self.k)
    }

    /// Replaces distances by code with distances by vector. `found` is sorted. If `rerank` is not given, only the first
    /// `rerank_cutoff` of them are kept.
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
