//! Inner products of 4-bit codes: half bytes by signed bytes. Sums are integers, so all twins agree.

use crate::memory::Line;

/// Sum of products. `code.len()` is a multiple of 16, 524,288 at most. `query` has two halves of as many bytes, each
/// padded to whole cache lines: factors of the low halves of the code's bytes, then of the high halves.
pub(crate) type Int4Dot = fn(code: &[u8], query: &[u8]) -> i32;

/// Offset of the second half of a query.
#[inline]
fn half(code: &[u8]) -> usize {
    code.len().next_multiple_of(Line::BYTES)
}

/// The reference.
pub(super) fn scalar(code: &[u8], query: &[u8]) -> i32 {
    let (low, high) = query.split_at(half(code));
    let signed = |x: u8| i32::from(x.cast_signed());
    let both = |((byte, low), high): ((&u8, &u8), &u8)| {
        i32::from(byte & 15) * signed(*low) + i32::from(byte >> 4) * signed(*high)
    };
    code.iter().zip(low).zip(high).map(both).sum()
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::half;
    use crate::memory::Line;

    /// 16 bytes per step. Sums of two products, at most `2 * 15 * 128`, fit in 16 bits.
    #[target_feature(enable = "avx2")]
    pub fn avx2(code: &[u8], query: &[u8]) -> i32 {
        assert!(query.len() >= 2 * half(code), "a query is as long as codes are");
        let (low, high) = (query.as_ptr(), query[half(code)..].as_ptr());
        let (mask, ones) = (_mm_set1_epi8(15), _mm_set1_epi16(1));
        let mut sum = _mm_setzero_si128();
        for at in (0..code.len() / 16 * 16).step_by(16) {
            // SAFETY: `at + 16 <= code.len()`, and either half of the query is no shorter.
            let (x, low, high) = unsafe {
                (
                    _mm_loadu_si128(code.as_ptr().add(at).cast()),
                    _mm_loadu_si128(low.add(at).cast()),
                    _mm_loadu_si128(high.add(at).cast()),
                )
            };
            let lows = _mm_maddubs_epi16(_mm_and_si128(x, mask), low);
            let highs = _mm_maddubs_epi16(_mm_and_si128(_mm_srli_epi16::<4>(x), mask), high);
            sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_add_epi16(lows, highs), ones));
        }
        let two = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
    }

    /// One line per step.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn avx512(code: &[u8], query: &[u8]) -> i32 {
        assert!(query.len() >= 2 * half(code), "a query is as long as codes are");
        let (low, high) = (query.as_ptr(), query[half(code)..].as_ptr());
        let mask = _mm512_set1_epi8(15);
        let mut sums = [_mm512_setzero_si512(); 2];
        for at in (0..code.len()).step_by(Line::BYTES) {
            let inside = u64::MAX >> (Line::BYTES - (code.len() - at).min(Line::BYTES));
            // SAFETY: the mask keeps the load inside the code; either half of the query fills whole lines.
            let (x, low, high) = unsafe {
                (
                    _mm512_maskz_loadu_epi8(inside, code.as_ptr().add(at).cast()),
                    _mm512_loadu_si512(low.add(at).cast()),
                    _mm512_loadu_si512(high.add(at).cast()),
                )
            };
            sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_and_si512(x, mask), low);
            sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask), high);
        }
        _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
    }
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod aarch64 {
    use std::arch::aarch64::*;

    use super::half;

    /// 16 bytes per step. Products fit in 16 bits.
    #[target_feature(enable = "neon")]
    pub fn neon(code: &[u8], query: &[u8]) -> i32 {
        assert!(query.len() >= 2 * half(code), "a query is as long as codes are");
        let (low, high) = query.split_at(half(code));
        let mut sums = [vdupq_n_s32(0); 2];
        for at in (0..code.len() / 16 * 16).step_by(16) {
            // SAFETY: `at + 16 <= code.len()`, and either half of the query is no shorter.
            let (x, low, high) = unsafe {
                (
                    vld1q_u8(code.as_ptr().add(at)),
                    vld1q_s8(low.as_ptr().add(at).cast()),
                    vld1q_s8(high.as_ptr().add(at).cast()),
                )
            };
            let lows = vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15)));
            let highs = vreinterpretq_s8_u8(vshrq_n_u8::<4>(x));
            for (sum, (x, y)) in sums.iter_mut().zip([(lows, low), (highs, high)]) {
                *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
                *sum = vpadalq_s16(*sum, vmull_high_s8(x, y));
            }
        }
        vaddvq_s32(vaddq_s32(sums[0], sums[1]))
    }
}
