//! A metric bound to the kernel that computes it.

use half::bf16;

use crate::config::Metric;
use crate::kernels::{InstructionSet, Kernel, Kernels};
use crate::near::Hit;
use crate::near::Near;

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
    pub fn hits(&self, nearest: Vec<Near>) -> Vec<Hit> {
        let root = |distance: f32| if self.metric == Metric::Euclid { distance.sqrt() } else { distance };
        let mut hits: Vec<Hit> =
            nearest.iter().map(|near| Hit { slot: near.id(), distance: root(near.distance()) }).collect();
        if self.metric == Metric::Euclid {
            // Two squares may share one root; then the slot decides again.
            hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
        }
        hits
    }
}
