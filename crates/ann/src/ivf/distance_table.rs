//! A query's table of distances, as bytes.

use crate::kernels::fast_scan::LANE;
use crate::metric::Metric;

use super::codebook::{Codebook, VALUES};

/// What each code adds to the distance: `least + step * byte`, summed over the parts.
pub(crate) struct DistanceTable {
    /// As [`crate::kernels::fast_scan`] wants it.
    pub bytes: Vec<u8>,
    /// The sum of the least distance of each part.
    pub least: f32,
    pub step: f32,
}

impl DistanceTable {
    /// The step is as small as bytes and their sums (`u16`) allow. Rounding is down, so that no sum is too large to be met.
    pub fn new(codebook: &Codebook, query: &[f32], metric: Metric) -> Self {
        let mut distances = Vec::new();
        codebook.distances(query, metric, &mut distances);
        let (mut least, mut widest, mut total) = (0.0, 0.0_f32, 0.0);
        let mut minima = Vec::with_capacity(distances.len());
        for part in &distances {
            let (low, high) = part.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
            minima.push(low);
            least += low;
            widest = widest.max(high - low);
            total += high - low;
        }
        let step = (widest / 255.0).max(total / 65_000.0);
        // Where all codes are equally far (a zero query) any step will do.
        let step = if step.is_finite() && step > 0.0 { step } else { 1.0 };
        let mut bytes = vec![0; codebook.padded()];
        for ((part, low), lane) in distances.iter().zip(minima).zip(bytes.chunks_exact_mut(LANE)) {
            for (x, byte) in part.iter().zip(lane.iter_mut()).take(VALUES) {
                // Not a number where distances overflow: zero then, and exact distances decide.
                *byte = ((x - low) / step) as u8;
            }
        }
        // Half a step for each part is what rounding down takes away on average.
        Self { bytes, least: least + 0.5 * step * distances.len() as f32, step }
    }

    /// The largest sum of bytes that may belong to a distance of `worst`, where `base` is what it is without them: any, where numbers
    /// overflow. None if there is no such sum.
    #[inline]
    pub fn limit(&self, worst: f32, base: f32) -> Option<u16> {
        let limit = (worst - base) / self.step;
        // Saturates.
        if limit.is_nan() { Some(u16::MAX) } else { (limit >= 0.0).then_some(limit as u16) }
    }
}

/// A distance, or what is farther than all others where it overflowed.
#[inline]
pub(super) fn infinity_if_nan(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance }
}
