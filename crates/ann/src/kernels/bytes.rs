//! Inner products of codes of 8 bits: unsigned bytes by signed ones. Sums are integers, so all twins agree.

use crate::memory::Line;

/// The sum of products, a stored code (unsigned) by a query (signed); equally many lines, 16,640 at most (then no sum
/// exceeds `i32`).
pub(crate) type ByteDot = fn(code: &[Line], query: &[Line]) -> i32;

/// The definition.
pub(super) fn scalar(code: &[Line], query: &[Line]) -> i32 {
    let bytes = |(x, y): (&Line, &Line)| {
        let products = x.0.iter().zip(&y.0).map(|(x, y)| i32::from(*x) * i32::from(y.cast_signed()));
        products.sum::<i32>()
    };
    code.iter().zip(query).map(bytes).sum()
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use crate::memory::Line;

    /// Widens to 16 bits: products of bytes in pairs would not fit in them.
    #[target_feature(enable = "avx2")]
    pub fn avx2(code: &[Line], query: &[Line]) -> i32 {
        let mut sums = [_mm256_setzero_si256(); 4];
        for (x, y) in code.iter().zip(query) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a line has 64 bytes, and `16 i + 16` is 64 at most.
                let (x, y) = unsafe {
                    (_mm_load_si128(x.0.as_ptr().add(16 * i).cast()), _mm_load_si128(y.0.as_ptr().add(16 * i).cast()))
                };
                let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(x), _mm256_cvtepi8_epi16(y));
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
        let sum = _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
        let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
    }

    /// A line a step.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn avx512(code: &[Line], query: &[Line]) -> i32 {
        let mut sums = [_mm512_setzero_si512(); 2];
        for (i, (x, y)) in code.iter().zip(query).enumerate() {
            // SAFETY: a line has 64 bytes and is aligned to as many.
            let (x, y) = unsafe { (_mm512_load_si512(x.0.as_ptr().cast()), _mm512_load_si512(y.0.as_ptr().cast())) };
            sums[i % 2] = _mm512_dpbusd_epi32(sums[i % 2], x, y);
        }
        _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
    }
}
