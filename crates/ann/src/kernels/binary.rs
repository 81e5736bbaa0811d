//! Binary codes against queries of 4 bits per component. Sums are integers, so all twins agree.

/// Bits of a component.
pub(crate) const PLANES: usize = 4;
/// Words that the widest twin reads at once.
pub(crate) const WORDS: usize = 8;
/// Rows per call: the query is loaded once for all of them.
pub(crate) const ROWS: usize = 8;

/// For each row, the weighted number of bits in which its first `words` differ from the query: a difference in the
/// highest bit of a component counts 8, in the lowest 1. For a component `u` and the sign `±1` of a bit, `±(2 u - 15)`
/// is 15 less twice that. Missing words of a row are zeros. For every [`WORDS`] words, the last of them perhaps fewer,
/// `planes` has as many with the lowest bits of the components, then with the next bits, and so on. 32,768 words at
/// most.
pub(crate) type BinaryDifferences = fn(rows: &[&[u64]; ROWS], words: usize, planes: &[u64]) -> [u32; ROWS];

/// The reference.
#[inline(always)]
pub(super) fn scalar(rows: &[&[u64]; ROWS], words: usize, planes: &[u64]) -> [u32; ROWS] {
    rows.map(|row| {
        let mut sum = 0;
        for (nth, planes) in planes.chunks_exact(WORDS * PLANES).enumerate() {
            for i in nth * WORDS..words.min((nth + 1) * WORDS) {
                let differ = |plane: usize| (row[i] ^ planes[plane * WORDS + i % WORDS]).count_ones() << plane;
                sum += (0..PLANES).map(differ).sum::<u32>();
            }
        }
        sum
    })
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{PLANES, ROWS, WORDS};

    #[target_feature(enable = "popcnt")]
    pub fn avx2(rows: &[&[u64]; ROWS], words: usize, planes: &[u64]) -> [u32; ROWS] {
        super::scalar(rows, words, planes)
    }

    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    pub fn avx512(rows: &[&[u64]; ROWS], words: usize, planes: &[u64]) -> [u32; ROWS] {
        assert!(rows.iter().all(|row| row.len() >= words), "no row has fewer words");
        let mut sums = [_mm512_setzero_si512(); ROWS];
        for (nth, planes) in planes.chunks_exact(WORDS * PLANES).enumerate() {
            let wanted = first(words.saturating_sub(nth * WORDS));
            // SAFETY: there are `WORDS` words for each of the planes.
            let plane =
                |plane: usize| unsafe { _mm512_maskz_loadu_epi64(wanted, planes.as_ptr().add(plane * WORDS).cast()) };
            let planes = [plane(0), plane(1), plane(2), plane(3)];
            for (row, sum) in rows.iter().zip(&mut sums) {
                // SAFETY: the mask keeps the load inside the first `words` words, and the row has as many.
                let bits = unsafe { _mm512_maskz_loadu_epi64(wanted, row.as_ptr().wrapping_add(nth * WORDS).cast()) };
                let [a, b, c, d] = planes.map(|plane| _mm512_popcnt_epi64(_mm512_xor_si512(bits, plane)));
                let low = _mm512_add_epi64(a, _mm512_slli_epi64::<1>(b));
                let high = _mm512_add_epi64(c, _mm512_slli_epi64::<1>(d));
                *sum = _mm512_add_epi64(*sum, _mm512_add_epi64(low, _mm512_slli_epi64::<2>(high)));
            }
        }
        totals(sums)
    }

    /// Mask of so many lanes, at most all.
    fn first(lanes: usize) -> u8 {
        ((1_u16 << lanes.min(WORDS)) - 1) as u8
    }

    /// Sum of each register. Registers are added by halves, so that eight take no more steps than two would one by one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn totals([a, b, c, d, e, f, g, h]: [__m512i; ROWS]) -> [u32; ROWS] {
        let (ab, cd, ef, gh) = (twos(a, b), twos(c, d), twos(e, f), twos(g, h));
        let all = quarters(quarters(ab, cd), quarters(ef, gh));
        let mut totals = [0; ROWS];
        // SAFETY: there is room for eight numbers.
        unsafe { _mm256_storeu_si256(totals.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(all)) };
        totals
    }

    /// In each quarter, the sum of the first register, then that of the second.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn twos(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
    }

    /// Sums of two quarters each, those of the first register first.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quarters(a: __m512i, b: __m512i) -> __m512i {
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        _mm512_add_epi64(_mm512_shuffle_i64x2::<EVEN>(a, b), _mm512_shuffle_i64x2::<ODD>(a, b))
    }
}
