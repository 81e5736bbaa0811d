//! Products of codes of one bit: signs by numbers of 4 bits. Sums are integers, so all twins agree.

/// Bits of a number.
pub(crate) const PLANES: usize = 4;
/// Words that the widest twin takes at once.
pub(crate) const WORDS: usize = 8;

/// The sum over the bits that are on of `2 u - 15`, `u` being the number of 4 bits at the same place. For every [`WORDS`] words of `bits`,
/// the last of them perhaps fewer, `planes` has as many with the lowest bits of their numbers, then the next bits, and so on. 32,768
/// words at most.
pub(crate) type BitDot = fn(bits: &[u64], planes: &[u64]) -> i32;

/// The definition.
#[inline(always)]
pub(super) fn scalar(bits: &[u64], planes: &[u64]) -> i32 {
    let mut sum = 0;
    for (bits, planes) in bits.chunks(WORDS).zip(planes.chunks_exact(WORDS * PLANES)) {
        for (nth, plane) in planes.chunks_exact(WORDS).enumerate() {
            let both = bits.iter().zip(plane).map(|(bits, plane)| (bits & plane).count_ones());
            sum += (both.sum::<u32>() << (nth + 1)).cast_signed();
        }
        sum -= 15 * bits.iter().map(|bits| bits.count_ones()).sum::<u32>().cast_signed();
    }
    sum
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{PLANES, WORDS};

    #[target_feature(enable = "popcnt")]
    pub fn avx2(bits: &[u64], planes: &[u64]) -> i32 {
        super::scalar(bits, planes)
    }

    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    pub fn avx512(bits: &[u64], planes: &[u64]) -> i32 {
        let mut sum = _mm512_setzero_si512();
        for (bits, planes) in bits.chunks(WORDS).zip(planes.chunks_exact(WORDS * PLANES)) {
            let there = u8::MAX >> (WORDS - bits.len());
            // SAFETY: the mask keeps the load inside the words, and there are `WORDS` words for each of the planes.
            let (bits, planes) = unsafe {
                let plane = |nth: usize| _mm512_loadu_si512(planes.as_ptr().add(nth * WORDS).cast());
                (_mm512_maskz_loadu_epi64(there, bits.as_ptr().cast()), [plane(0), plane(1), plane(2), plane(3)])
            };
            let [a, b, c, d] = planes.map(|plane| _mm512_popcnt_epi64(_mm512_and_si512(bits, plane)));
            let low = _mm512_add_epi64(a, _mm512_slli_epi64::<1>(b));
            let high = _mm512_add_epi64(c, _mm512_slli_epi64::<1>(d));
            let twice = _mm512_slli_epi64::<1>(_mm512_add_epi64(low, _mm512_slli_epi64::<2>(high)));
            let ones = _mm512_popcnt_epi64(bits);
            // 15 of them.
            let taken_off = _mm512_sub_epi64(_mm512_slli_epi64::<4>(ones), ones);
            sum = _mm512_add_epi64(sum, _mm512_sub_epi64(twice, taken_off));
        }
        _mm512_reduce_add_epi64(sum) as i32
    }
}
