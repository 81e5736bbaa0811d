//! A metric bound to the kernel that computes it.

use half::bf16;

use crate::kernels::{InstructionSet, Kernel, Kernels};
use crate::neighbor::{Hit, Neighbor};
use crate::storage::datatype::Number;

/// How two vectors are compared; see [`crate::Hit::distance`] for the unit of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Cosine similarity. Vectors and queries arrive normalised; this crate does not check it. A zero vector is as far
    /// from all as a right angle.
    Cosine,
    /// Inner product, larger is nearer.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

/// Distances inside this crate: smaller is nearer, never NaN, never negative zero. Euclid stays squared until it leaves.
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

    /// With [`InstructionSet::best`].
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

    /// The same as [`Self::distance`] to what the second vector is in `f32`, bit by bit.
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
        // Only sums that overflowed to both infinities are NaN.
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    /// Hits as users see them, nearest first, ties by slot.
    pub fn hits(&self, nearest: Vec<Neighbor>) -> Vec<Hit> {
        let root = |distance: f32| if self.metric == Metric::Euclid { distance.sqrt() } else { distance };
        let mut hits: Vec<Hit> =
            nearest.iter().map(|neighbor| Hit { slot: neighbor.id(), distance: root(neighbor.distance()) }).collect();
        if self.metric == Metric::Euclid {
            // Two squares may share one root; then the slot decides again.
            hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
        }
        hits
    }
}

/// A number that vectors are kept as, with the distance to a vector of such numbers.
pub(crate) trait Component: Number {
    /// [`Space::distance`] to a vector of such numbers.
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
