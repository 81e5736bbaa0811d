//! Inner products of 8-bit codes: unsigned bytes by signed ones. Sums are integers, so all twins agree.

use crate::memory::Line;

use super::columns::ROWS;

/// Sum of products of a stored code (unsigned) and a query (signed), with equally many lines, 1,028 at most (then no
/// sum exceeds `i32`).
pub(crate) type Int8Dot = fn(code: &[Line], query: &[Line]) -> i32;

/// The same for [`ROWS`] codes: the query is converted once, and sums are reduced together.
pub(crate) type Int8Dots = fn(codes: &[&[Line]; ROWS], query: &[Line]) -> [i32; ROWS];

/// The reference.
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

    /// Widens to 16 bits, because sums of two products of bytes exceed them.
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

    /// One line per step.
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

    /// For [`ROWS`] codes at once.
    pub mod rows {
        use std::arch::x86_64::*;

        use super::super::ROWS;
        use crate::memory::Line;

        /// Codes whose sums fit in the registers of AVX2.
        const FOUR: usize = 4;

        /// As [`super::avx2()`]: the query is widened once for four codes.
        #[target_feature(enable = "avx2")]
        pub fn avx2(codes: &[&[Line]; ROWS], query: &[Line]) -> [i32; ROWS] {
            assert!(codes.iter().all(|code| code.len() == query.len()), "equally many lines");
            let mut out = [0; ROWS];
            let (codes, _) = codes.as_chunks::<FOUR>();
            for (codes, out) in codes.iter().zip(out.as_chunks_mut::<FOUR>().0) {
                let mut sums = [_mm256_setzero_si256(); FOUR];
                for (at, y) in query.iter().enumerate() {
                    for i in 0..4 {
                        // SAFETY: a line has 64 bytes, and `16 i + 16` is 64 at most.
                        let y = _mm256_cvtepi8_epi16(unsafe { _mm_load_si128(y.0.as_ptr().add(16 * i).cast()) });
                        for (code, sum) in codes.iter().zip(&mut sums) {
                            // SAFETY: as above; `at` is below the length of the query, which is that of each code.
                            let x = unsafe {
                                _mm_load_si128((&raw const (*code.as_ptr().add(at)).0).cast::<__m128i>().add(i))
                            };
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(x), y));
                        }
                    }
                }
                let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
                let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
                // SAFETY: four sums of 32 bits are as many bytes as the register has.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), four) };
            }
            out
        }

        /// One line of each code per step. The 16 sums of each of 16 codes are reduced by halves: after each addition a
        /// register holds those of twice as many codes.
        #[target_feature(enable = "avx512f,avx512vnni")]
        pub fn avx512(codes: &[&[Line]; ROWS], query: &[Line]) -> [i32; ROWS] {
            assert!(codes.iter().all(|code| code.len() == query.len()), "equally many lines");
            let mut sums = [_mm512_setzero_si512(); ROWS];
            for (at, y) in query.iter().enumerate() {
                // SAFETY: a line has 64 bytes and is aligned to as many.
                let y = unsafe { _mm512_load_si512(y.0.as_ptr().cast()) };
                for (code, sum) in codes.iter().zip(&mut sums) {
                    // SAFETY: as above; `at` is below the length of the query, which is that of each code.
                    *sum = _mm512_dpbusd_epi32(*sum, unsafe { _mm512_load_si512(code.as_ptr().add(at).cast()) }, y);
                }
            }
            let numbers = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
            let quarters = |a, b| {
                let (even, odd) =
                    (_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
                _mm512_add_epi32(even, odd)
            };
            let four = |i: usize| pairs(numbers(sums[i], sums[i + 1]), numbers(sums[i + 2], sums[i + 3]));
            let all = quarters(quarters(four(0), four(4)), quarters(four(8), four(12)));
            let mut out = [0; ROWS];
            // SAFETY: sixteen sums of 32 bits are as many bytes as the register has.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), all) };
            out
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod aarch64 {
    use std::arch::aarch64::*;

    use crate::memory::Line;

    /// Subtracts 128 from each stored byte, so that products fit in 16 bits; 128 times the sum of the query compensates
    /// it.
    #[target_feature(enable = "neon")]
    pub fn neon(code: &[Line], query: &[Line]) -> i32 {
        let mut sums = [vdupq_n_s32(0); 4];
        let mut taken_off = vdupq_n_s32(0);
        for (x, y) in code.iter().zip(query) {
            let mut sum_of_line = vdupq_n_s16(0);
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a line has 64 bytes, and `16 i + 16` is 64 at most.
                let (x, y) = unsafe { (vld1q_u8(x.0.as_ptr().add(16 * i)), vld1q_s8(y.0.as_ptr().add(16 * i).cast())) };
                let x = vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128)));
                *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
                *sum = vpadalq_s16(*sum, vmull_high_s8(x, y));
                sum_of_line = vpadalq_s8(sum_of_line, y);
            }
            taken_off = vpadalq_s16(taken_off, sum_of_line);
        }
        let sum = vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3]));
        vaddvq_s32(vaddq_s32(sum, vshlq_n_s32::<7>(taken_off)))
    }
}
