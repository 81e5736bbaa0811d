//! How far nodes are, as the graph sees it: by their codes where it has them, else by their vectors.

use crate::codes::{Code, Codes, Query};
use crate::kernels::prefetch;
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
    query: Query,
}

impl Measure<'_> {
    /// A vector that is in no row; its code where there are codes.
    pub fn aim_at_vector(&self, vector: &[f32], target: &mut Target) -> Option<Code> {
        let Some(codes) = self.codes else {
            target.vector.clear();
            target.vector.extend_from_slice(vector);
            return None;
        };
        let kernels = self.vectors.space.kernels();
        let code = codes.encode(&codes.rotate(vector, kernels), kernels);
        self.aim_at_code(&code, target);
        Some(code)
    }

    pub fn aim_at_code(&self, code: &Code, target: &mut Target) {
        if let Some(codes) = self.codes {
            codes.aim(code.lines(), &mut target.query);
        }
    }

    pub fn aim_at(&self, node: u32, target: &mut Target) {
        match self.codes {
            Some(codes) => codes.aim_at(node, &mut target.query),
            None => {
                target.vector.clear();
                target.vector.extend_from_slice(self.vectors.row(node));
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

    /// As the first part of the code tells it; none where there is none, or it is short.
    #[inline]
    pub fn sketch(&self, target: &Target, node: u32) -> Option<f32> {
        let codes = self.codes.filter(|codes| codes.sketch_lines() > 0)?;
        Some(codes.sketched(&target.query, node, self.vectors.space))
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        match self.codes {
            Some(codes) => codes.prefetch(node),
            None => prefetch(self.vectors.row(node)),
        }
    }

    /// The nodes with their distance from one of them, nearest first.
    pub fn sorted(&self, from: u32, nodes: impl Iterator<Item = u32>, target: &mut Target) -> Vec<Near> {
        self.aim_at(from, target);
        let mut nears: Vec<Near> = nodes.map(|node| self.near(target, node)).collect();
        nears.sort_unstable();
        nears
    }
}
