//! How far nodes are, as the graph sees it: by their codes where it has them, else by their vectors.

use crate::codes::{Code, Codes, Query};
use crate::near::Near;

use super::Vectors;

/// Distances between nodes.
#[derive(Clone, Copy)]
pub(crate) struct Measure<'a> {
    pub vectors: Vectors<'a>,
    pub codes: Option<&'a Codes>,
}

/// What nodes are compared with.
#[derive(Default)]
pub(crate) struct Target {
    vector: Vec<f32>,
    /// The vector turned, where it is in no row and there are codes.
    rotated: Vec<f32>,
    query: Query,
}

impl Target {
    /// What [`Measure::aim_at_vector`] turned last.
    pub fn rotated(&self) -> &[f32] {
        &self.rotated
    }
}

impl Measure<'_> {
    /// A vector that is in no row.
    pub fn aim_at_vector(&self, vector: &[f32], target: &mut Target) {
        let Some(codes) = self.codes else {
            target.vector.clear();
            target.vector.extend_from_slice(vector);
            return;
        };
        codes.aim_at_vector(vector, self.vectors.space.kernels(), &mut target.rotated, &mut target.query);
    }

    /// The code of the vector that [`Self::aim_at_vector`] turned last, where there are codes.
    pub fn code(&self, target: &Target) -> Option<Code> {
        self.codes.map(|codes| codes.encode(&target.rotated, self.vectors.space.kernels()))
    }

    pub fn aim_at(&self, node: u32, target: &mut Target) {
        match self.codes {
            Some(codes) => codes.aim_at(node, &mut target.query),
            None => {
                target.vector.clear();
                target.vector.extend_from_slice(&self.vectors.row(node));
            }
        }
    }

    #[inline]
    pub fn near(&self, target: &Target, node: u32) -> Near {
        let distance = match self.codes {
            Some(codes) => codes.distance(&target.query, node, self.vectors.space),
            None => self.vectors.to(&target.vector, node),
        };
        Near::new(distance, node)
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        match self.codes {
            Some(codes) => codes.prefetch(node),
            None => self.vectors.rows.prefetch(node),
        }
    }

    /// Of nodes that were sorted by their codes, how many of the first may be among the `k` nearest.
    pub fn plausible(&self, target: &Target, sorted: &[Near], k: usize) -> usize {
        self.codes.map_or(sorted.len(), |codes| codes.plausible(&target.query, sorted, k, self.vectors.space))
    }

    /// The nearest of some nodes to another.
    pub fn nearest(&self, to: u32, nodes: impl Iterator<Item = u32>, target: &mut Target) -> Option<u32> {
        self.aim_at(to, target);
        nodes.map(|node| self.near(target, node)).min().map(Near::id)
    }

    /// The nodes with their distance from one of them, nearest first.
    pub fn sorted(&self, from: u32, nodes: impl Iterator<Item = u32>, target: &mut Target) -> Vec<Near> {
        self.aim_at(from, target);
        let mut nears: Vec<Near> = nodes.map(|node| self.near(target, node)).collect();
        nears.sort_unstable();
        nears
    }
}
