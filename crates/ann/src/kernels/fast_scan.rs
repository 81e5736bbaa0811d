//! Sums of table lookups for 32 codes at once (André, Kermarrec, Le Scouarnec, VLDB 2015; the layout of FAISS).
//!
//! A block holds the 4-bit codes of 32 points, 16 bytes per subquantizer: byte `j` has the code of point `j` in its low
//! half and that of point `j + 16` in its high half. The table has 16 bytes per subquantizer. The number of
//! subquantizers is padded to a multiple of [`PADDED`]; the table of the padding is zero. Sums are integers, so all
//! twins agree. The caller ensures that no sum exceeds `u16`.

/// Points in a block.
pub(crate) const BLOCK_POINTS: usize = 32;
/// Subquantizers that the widest twin reads at once.
pub(crate) const PADDED: usize = 4;
/// Bytes of a subquantizer in a block, and in the table.
pub(crate) const LANE: usize = 16;

/// Writes the sums of a block's points, and returns a mask of those up to `limit`. `block.len() == table.len()`, a
/// multiple of `LANE * PADDED`.
pub(crate) type FastScan = fn(block: &[u8], table: &[u8], limit: u16, sums: &mut [u16; BLOCK_POINTS]) -> u32;

/// The reference.
pub(super) fn scalar(block: &[u8], table: &[u8], limit: u16, sums: &mut [u16; BLOCK_POINTS]) -> u32 {
    sums.fill(0);
    for (codes, table) in block.chunks_exact(LANE).zip(table.chunks_exact(LANE)) {
        for (j, code) in codes.iter().enumerate() {
            sums[j] += u16::from(table[usize::from(code & 15)]);
            sums[j + LANE] += u16::from(table[usize::from(code >> 4)]);
        }
    }
    (0..BLOCK_POINTS).filter(|i| sums[*i] <= limit).fold(0, |within_limit, i| within_limit | 1 << i)
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK_POINTS, LANE};

    /// Two subquantizers per step.
    #[target_feature(enable = "avx2")]
    pub fn avx2(block: &[u8], table: &[u8], limit: u16, sums: &mut [u16; BLOCK_POINTS]) -> u32 {
        let len = block.len().min(table.len());
        let low = _mm256_set1_epi8(15);
        // Bytes in pairs: even bytes with odd ones above them, and odd bytes alone; for either half of the points.
        let mut pairs = [_mm256_setzero_si256(); 2];
        let mut odd = [_mm256_setzero_si256(); 2];
        for at in (0..len - len % (2 * LANE)).step_by(2 * LANE) {
            // SAFETY: `at + 32 <= len`, which neither slice is shorter than.
            let (codes, table) = unsafe {
                (_mm256_loadu_si256(block.as_ptr().add(at).cast()), _mm256_loadu_si256(table.as_ptr().add(at).cast()))
            };
            let halves = [_mm256_and_si256(codes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low)];
            for half in 0..2 {
                let found = _mm256_shuffle_epi8(table, halves[half]);
                pairs[half] = _mm256_add_epi16(pairs[half], found);
                odd[half] = _mm256_add_epi16(odd[half], _mm256_srli_epi16::<8>(found));
            }
        }
        let mut within_limit = 0;
        for half in 0..2 {
            let fold = |x| _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            within_limit |= store(fold(pairs[half]), fold(odd[half]), limit, half, sums) << (half * LANE);
        }
        within_limit
    }

    /// Four subquantizers per step.
    #[target_feature(enable = "avx2,avx512f,avx512bw")]
    pub fn avx512(block: &[u8], table: &[u8], limit: u16, sums: &mut [u16; BLOCK_POINTS]) -> u32 {
        let len = block.len().min(table.len());
        let low = _mm512_set1_epi8(15);
        let mut pairs = [_mm512_setzero_si512(); 2];
        let mut odd = [_mm512_setzero_si512(); 2];
        for at in (0..len - len % (4 * LANE)).step_by(4 * LANE) {
            // SAFETY: `at + 64 <= len`, which neither slice is shorter than.
            let (codes, table) = unsafe {
                (_mm512_loadu_si512(block.as_ptr().add(at).cast()), _mm512_loadu_si512(table.as_ptr().add(at).cast()))
            };
            let halves = [_mm512_and_si512(codes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low)];
            for half in 0..2 {
                let found = _mm512_shuffle_epi8(table, halves[half]);
                pairs[half] = _mm512_add_epi16(pairs[half], found);
                odd[half] = _mm512_add_epi16(odd[half], _mm512_srli_epi16::<8>(found));
            }
        }
        let mut within_limit = 0;
        for half in 0..2 {
            let fold = |x| {
                let x = _mm256_add_epi16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
                _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x))
            };
            within_limit |= store(fold(pairs[half]), fold(odd[half]), limit, half, sums) << (half * LANE);
        }
        within_limit
    }

    /// Separates even and odd bytes, writes the sums of 16 points in order, and returns a mask of those within the
    /// limit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(pairs: __m128i, odd: __m128i, limit: u16, half: usize, sums: &mut [u16; BLOCK_POINTS]) -> u32 {
        let even = _mm_sub_epi16(pairs, _mm_slli_epi16::<8>(odd));
        let out = sums[half * LANE..].as_mut_ptr();
        let sums = [_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd)];
        // SAFETY: `half` is 0 or 1, so 16 numbers of the 32 stand behind `out`.
        unsafe {
            _mm_storeu_si128(out.cast(), sums[0]);
            _mm_storeu_si128(out.add(8).cast(), sums[1]);
        }
        let limit = _mm_set1_epi16(limit.cast_signed());
        let within = sums.map(|x| _mm_cmpeq_epi16(_mm_min_epu16(x, limit), x));
        _mm_movemask_epi8(_mm_packs_epi16(within[0], within[1])).cast_unsigned()
    }
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod aarch64 {
    use std::arch::aarch64::*;

    use super::{BLOCK_POINTS, LANE};

    /// Sums per register.
    const WIDTH: usize = 8;
    /// The bits of 16 points.
    const BITS: [u16; LANE] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768];

    /// One subquantizer per step.
    #[target_feature(enable = "neon")]
    pub fn neon(block: &[u8], table: &[u8], limit: u16, sums: &mut [u16; BLOCK_POINTS]) -> u32 {
        let low = vdupq_n_u8(15);
        // For either half of the points.
        let mut totals = [[vdupq_n_u16(0); 2]; 2];
        for (codes, table) in block.as_chunks::<LANE>().0.iter().zip(table.as_chunks::<LANE>().0) {
            // SAFETY: each has the 16 bytes that are read.
            let (codes, table) = unsafe { (vld1q_u8(codes.as_ptr()), vld1q_u8(table.as_ptr())) };
            let halves = [vandq_u8(codes, low), vshrq_n_u8::<4>(codes)];
            for ([first, second], codes) in totals.iter_mut().zip(halves) {
                let found = vqtbl1q_u8(table, codes);
                *first = vaddw_u8(*first, vget_low_u8(found));
                *second = vaddw_high_u8(*second, found);
            }
        }
        let limit = vdupq_n_u16(limit);
        // SAFETY: eight of the sixteen are read from the start, and eight behind them.
        let bits = unsafe { [vld1q_u16(BITS.as_ptr()), vld1q_u16(BITS.as_ptr().add(WIDTH))] };
        let mut within_limit = 0;
        for (half, totals) in totals.into_iter().enumerate() {
            let out = sums[half * LANE..].as_mut_ptr();
            // SAFETY: `half` is 0 or 1, so 16 numbers of the 32 stand behind `out`.
            unsafe {
                vst1q_u16(out, totals[0]);
                vst1q_u16(out.add(WIDTH), totals[1]);
            }
            let within = [0, 1].map(|i| vandq_u16(vcleq_u16(totals[i], limit), bits[i]));
            within_limit |= u32::from(vaddvq_u16(vorrq_u16(within[0], within[1]))) << (half * LANE);
        }
        within_limit
    }
}
