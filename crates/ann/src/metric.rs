//! Metrics, and distances computed by the kernels of an instruction set.

use half::bf16;

use crate::kernels::{InstructionSet, Kernel, Kernels};
use crate::neighbor::{Hit, Neighbor};
use crate::storage::datatype::Number;

/// Distance between two vectors; see [`crate::Hit::distance`] for its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Cosine similarity. Vectors and queries must be normalized by the caller; this crate does not check it. A zero
    /// vector is orthogonal to all.
    Cosine,
    /// Inner product, larger is nearer.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

/// Distances inside this crate: smaller is nearer, never NaN, never negative zero. Euclidean distances stay squared
/// until [`Space::hits`].
#[derive(Clone, Copy)]
pub(crate) struct Space {
    metric: Metric,
    kernel: Kernel<f32>,
    kernel_bf16: Kernel<bf16>,
    kernels: Kernels,
}

impl Space {
    pub fn new(metric: Metric, kernels: &Kernels) -> Self {
        let (kernel, kernel_bf16) = match metric {
            Metric::Cosine | Metric::Dot => (kernels.dot, kernels.dot_bf16),
            Metric::Euclid => (kernels.squared_euclid, kernels.squared_euclid_bf16),
            Metric::Manhattan => (kernels.manhattan, kernels.manhattan_bf16),
        };
        Self { metric, kernel, kernel_bf16, kernels: *kernels }
    }

    /// Uses [`InstructionSet::best`].
    pub fn best(metric: Metric) -> Self {
        let best = InstructionSet::best().kernels().expect("the best set is chosen among supported ones");
        Self::new(metric, &best)
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// `a.len() == b.len()`.
    #[inline]
    pub fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        self.finish((self.kernel)(a, b))
    }

    /// Equals [`Self::distance`] to the second vector converted to `f32`, bit by bit.
    #[inline]
    pub fn distance_bf16(&self, a: &[f32], b: &[bf16]) -> f32 {
        self.finish((self.kernel_bf16)(a, b))
    }

    #[inline]
    fn finish(&self, raw: f32) -> f32 {
        let distance = match self.metric {
            Metric::Cosine | Metric::Dot => 0.0 - raw,
            Metric::Euclid | Metric::Manhattan => raw,
        };
        // NaN occurs only where partial sums overflowed to both infinities.
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    /// Hits for users, nearest first, ties by slot.
    pub fn hits(&self, nearest: Vec<Neighbor>) -> Vec<Hit> {
        let root = |distance: f32| if self.metric == Metric::Euclid { distance.sqrt() } else { distance };
        let mut hits: Vec<Hit> =
            nearest.iter().map(|neighbor| Hit { slot: neighbor.id(), distance: root(neighbor.distance()) }).collect();
        if self.metric == Metric::Euclid {
            // Two squares may have the same root; then the slot decides again.
            hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
        }
        hits
    }
}

/// Component type of stored vectors, with its distance.
pub(crate) trait Component: Number {
    /// [`Space::distance`] to a vector of this type.
    fn distance(space: &Space, query: &[f32], row: &[Self]) -> f32;
}

impl Component for f32 {
    #[inline]
    fn distance(space: &Space, query: &[f32], row: &[Self]) -> f32 {
        space.distance(query, row)
    }
}

impl Component for bf16 {
    #[inline]
    fn distance(space: &Space, query: &[f32], row: &[Self]) -> f32 {
        space.distance_bf16(query, row)
    }
}
