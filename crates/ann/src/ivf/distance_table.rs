//! Distance table of a query, quantized to bytes.

use crate::kernels::fast_scan::LANE;
use crate::metric::Metric;

use super::codebook::{Codebook, VALUES};

/// Contribution of each code to the distance: `least + step * byte`, summed over the parts.
pub(crate) struct DistanceTable {
    /// In the layout of [`crate::kernels::fast_scan`].
    pub bytes: Vec<u8>,
    /// Sum of the smallest distance of each part.
    pub least: f32,
    pub step: f32,
}

impl DistanceTable {
    /// The step is as small as bytes and their sums (`u16`) permit. Bytes are rounded down, so that no sum exceeds the
    /// limit of a point within it.
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
        // All codes are equally far (a zero query): any step works.
        let step = if step.is_finite() && step > 0.0 { step } else { 1.0 };
        let mut bytes = vec![0; codebook.padded()];
        for ((part, low), lane) in distances.iter().zip(minima).zip(bytes.chunks_exact_mut(LANE)) {
            for (x, byte) in part.iter().zip(lane.iter_mut()).take(VALUES) {
                // NaN, where distances overflow, becomes 0; exact distances decide then.
                *byte = ((x - low) / step) as u8;
            }
        }
        // Rounding down loses half a step per part on average.
        Self { bytes, least: least + 0.5 * step * distances.len() as f32, step }
    }

    /// The largest sum of bytes for a distance up to `worst`, given the rest `base` of the distance; the maximum where
    /// numbers overflow. None if no sum is small enough.
    #[inline]
    pub fn limit(&self, worst: f32, base: f32) -> Option<u16> {
        let limit = (worst - base) / self.step;
        // The cast saturates.
        if limit.is_nan() { Some(u16::MAX) } else { (limit >= 0.0).then_some(limit as u16) }
    }
}

/// The distance, infinite if it overflowed to NaN.
#[inline]
pub(super) fn infinity_if_nan(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance }
}
