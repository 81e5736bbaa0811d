//! Distances in the graph: by codes if it has them, else by vectors.

use crate::neighbor::Neighbor;
use crate::quantization::{Code, Codes, Query};

use super::Vectors;

/// Computes distances between nodes, or from a query.
#[derive(Clone, Copy)]
pub(crate) struct Scorer<'a> {
    pub vectors: Vectors<'a>,
    pub codes: Option<&'a Codes>,
}

/// A vector prepared for comparison with nodes.
#[derive(Default)]
pub(crate) struct PreparedQuery {
    vector: Vec<f32>,
    /// The rotated vector, if it is not stored and there are codes.
    rotated: Vec<f32>,
    query: Query,
}

impl PreparedQuery {
    /// The vector rotated last by [`Scorer::set_query_vector`].
    pub fn rotated(&self) -> &[f32] {
        &self.rotated
    }
}

impl Scorer<'_> {
    /// Prepares a vector that is not stored.
    pub fn set_query_vector(&self, vector: &[f32], query: &mut PreparedQuery) {
        let Some(codes) = self.codes else {
            query.vector.clear();
            query.vector.extend_from_slice(vector);
            return;
        };
        codes.set_query_vector(vector, self.vectors.space.kernels(), &mut query.rotated, &mut query.query);
    }

    /// The code of the vector prepared last by [`Self::set_query_vector`], if there are codes.
    pub fn code(&self, query: &PreparedQuery) -> Option<Code> {
        self.codes.map(|codes| codes.encode(&query.rotated, self.vectors.space.kernels()))
    }

    pub fn set_query_node(&self, node: u32, query: &mut PreparedQuery) {
        match self.codes {
            Some(codes) => codes.set_query_node(node, &mut query.query),
            None => {
                query.vector.clear();
                query.vector.extend_from_slice(&self.vectors.row(node));
            }
        }
    }

    #[inline]
    pub fn neighbor(&self, query: &PreparedQuery, node: u32) -> Neighbor {
        let distance = match self.codes {
            Some(codes) => codes.distance(&query.query, node, self.vectors.space),
            None => self.vectors.to(&query.vector, node),
        };
        Neighbor::new(distance, node)
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        match self.codes {
            Some(codes) => codes.prefetch(node),
            None => self.vectors.rows.prefetch(node),
        }
    }

    /// Number of leading nodes that may be among the `k` nearest, given nodes sorted by distance by code.
    pub fn rerank_cutoff(&self, query: &PreparedQuery, sorted: &[Neighbor], k: usize) -> usize {
        self.codes.map_or(sorted.len(), |codes| codes.rerank_cutoff(&query.query, sorted, k, self.vectors.space))
    }

    /// The node nearest to another.
    pub fn nearest(&self, to: u32, nodes: impl Iterator<Item = u32>, query: &mut PreparedQuery) -> Option<u32> {
        self.set_query_node(to, query);
        nodes.map(|node| self.neighbor(query, node)).min().map(Neighbor::id)
    }

    /// Nodes with their distance from a node, nearest first.
    pub fn sorted(&self, from: u32, nodes: impl Iterator<Item = u32>, query: &mut PreparedQuery) -> Vec<Neighbor> {
        self.set_query_node(from, query);
        let mut neighbors: Vec<Neighbor> = nodes.map(|node| self.neighbor(query, node)).collect();
        neighbors.sort_unstable();
        neighbors
    }
}
