//! Estimated distances of 32 links from the sums of their codes.

use half::bf16;

use super::fast_scan::BLOCK_POINTS;
use crate::storage::datatype::Number;

/// 32 numbers of a row. Their rounding is small compared to the error of binary codes.
pub(crate) type Column = [bf16; BLOCK_POINTS];

/// Writes `here + added + factor * scale * (sum - above)` for each link, and returns a mask of the links below `worst`.
pub(crate) type Estimates = fn(EstimateInput<'_>, out: &mut [f32; BLOCK_POINTS]) -> u32;

/// Input of an estimate.
#[derive(Clone, Copy)]
pub(crate) struct EstimateInput<'a> {
    pub sums: &'a [u16; BLOCK_POINTS],
    /// Offset of all sums.
    pub above: f32,
    pub scale: f32,
    pub added: &'a Column,
    pub factors: &'a Column,
    pub here: f32,
    pub worst: f32,
}

/// The reference.
pub(super) fn scalar(input: EstimateInput<'_>, out: &mut [f32; BLOCK_POINTS]) -> u32 {
    let mut less = 0;
    for (i, out) in out.iter_mut().enumerate() {
        let (added, factor) = (input.added[i].wide(), input.factors[i].wide());
        let sum = (f32::from(input.sums[i]) - input.above) * input.scale;
        *out = (input.here + added) + factor * sum;
        less |= u32::from(*out < input.worst) << i;
    }
    less
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK_POINTS, EstimateInput};

    #[target_feature(enable = "avx2")]
    pub fn avx2(input: EstimateInput<'_>, out: &mut [f32; BLOCK_POINTS]) -> u32 {
        let (above, scale) = (_mm256_set1_ps(input.above), _mm256_set1_ps(input.scale));
        let (here, worst) = (_mm256_set1_ps(input.here), _mm256_set1_ps(input.worst));
        let mut less = 0;
        for at in (0..BLOCK_POINTS).step_by(8) {
            // SAFETY: each array has 32 numbers, of which 8 are read from `at`, 24 at most.
            let (sums, added, factors) = unsafe {
                (
                    _mm_loadu_si128(input.sums.as_ptr().add(at).cast()),
                    _mm_loadu_si128(input.added.as_ptr().add(at).cast()),
                    _mm_loadu_si128(input.factors.as_ptr().add(at).cast()),
                )
            };
            let [added, factors] =
                [added, factors].map(|x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))));
            let sums = _mm256_sub_ps(_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(sums)), above);
            let product = _mm256_mul_ps(factors, _mm256_mul_ps(sums, scale));
            let estimates = _mm256_add_ps(_mm256_add_ps(here, added), product);
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(at), estimates) };
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(estimates, worst));
            less |= mask.cast_unsigned() << at;
        }
        less
    }

    #[target_feature(enable = "avx512f")]
    pub fn avx512(input: EstimateInput<'_>, out: &mut [f32; BLOCK_POINTS]) -> u32 {
        let (above, scale) = (_mm512_set1_ps(input.above), _mm512_set1_ps(input.scale));
        let (here, worst) = (_mm512_set1_ps(input.here), _mm512_set1_ps(input.worst));
        let mut less = 0;
        for at in (0..BLOCK_POINTS).step_by(16) {
            // SAFETY: each array has 32 numbers, of which 16 are read from `at`, 16 at most.
            let (sums, added, factors) = unsafe {
                (
                    _mm256_loadu_si256(input.sums.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(input.added.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(input.factors.as_ptr().add(at).cast()),
                )
            };
            let [added, factors] =
                [added, factors].map(|x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))));
            let sums = _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)), above);
            let product = _mm512_mul_ps(factors, _mm512_mul_ps(sums, scale));
            let estimates = _mm512_add_ps(_mm512_add_ps(here, added), product);
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(at), estimates) };
            less |= u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(estimates, worst)) << at;
        }
        less
    }
}
