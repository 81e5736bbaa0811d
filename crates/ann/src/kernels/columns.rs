//! Inner products of one vector with 16 rows that are stored by column, four components at a time, so that no sum
//! crosses lanes. Sums of products of bytes are integers, so all twins agree.

use crate::memory::Line;

/// Rows per group.
pub(crate) const ROWS: usize = 16;
/// Adjacent components of a row.
pub(crate) const QUAD: usize = 4;

/// Inner products of `vector` (signed bytes) with each row (unsigned bytes) of each group of 16. Line `i` of a group
/// has the components from `4 i` on of row `r` at `4 r`: `columns.len() == groups * vector.len()`, `out.len() == groups
/// * 16`. A row has 65,792 components at most (then no sum exceeds `i32`).
pub(crate) type Columns = fn(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]);

/// The reference.
pub(super) fn scalar(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]) {
    out.fill(0);
    for (group, out) in columns.chunks_exact(vector.len()).zip(out.chunks_exact_mut(ROWS)) {
        for (x, line) in vector.iter().zip(group) {
            for (sum, y) in out.iter_mut().zip(line.0.as_chunks::<QUAD>().0) {
                *sum += x.iter().zip(y).map(|(x, y)| i32::from(x.cast_signed()) * i32::from(*y)).sum::<i32>();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{QUAD, ROWS};
    use crate::memory::Line;

    /// Widens to 16 bits, because sums of two products of bytes exceed them.
    #[target_feature(enable = "avx2")]
    pub fn avx2(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]) {
        for (group, out) in columns.chunks_exact(vector.len()).zip(out.as_chunks_mut::<ROWS>().0) {
            // Each has two sums of four rows.
            let mut sums = [_mm256_setzero_si256(); 4];
            for (x, line) in vector.iter().zip(group) {
                let x = _mm256_cvtepi8_epi16(_mm_set1_epi32(i32::from_le_bytes(*x)));
                for (i, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a line has 64 bytes, and `16 i + 16` is 64 at most.
                    let y = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * i).cast()) };
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(y), x));
                }
            }
            for half in 0..2 {
                // Rows 0, 1, 4, 5 and 2, 3, 6, 7 of the half.
                let pairs = _mm256_hadd_epi32(sums[2 * half], sums[2 * half + 1]);
                let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                // SAFETY: `half` is 0 or 1, so 8 numbers of the 16 stand behind.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(8 * half).cast(), sums) };
            }
        }
    }

    /// Groups at once, if there are as many: enough registers to hide the latency of a step.
    const GROUPS_AT_ONCE: usize = 4;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn avx512(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]) {
        let mut groups = columns.chunks_exact(vector.len() * GROUPS_AT_ONCE);
        let (together, last) = out.split_at_mut(groups.len() * GROUPS_AT_ONCE * ROWS);
        for (columns, out) in groups.by_ref().zip(together.chunks_exact_mut(GROUPS_AT_ONCE * ROWS)) {
            multiply::<GROUPS_AT_ONCE>(vector, columns, out);
        }
        for (columns, out) in groups.remainder().chunks_exact(vector.len()).zip(last.chunks_exact_mut(ROWS)) {
            multiply::<1>(vector, columns, out);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply<const GROUPS: usize>(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]) {
        assert!(columns.len() == GROUPS * vector.len() && out.len() == GROUPS * ROWS, "whole groups");
        let mut sums = [_mm512_setzero_si512(); GROUPS];
        for (i, x) in vector.iter().enumerate() {
            let x = _mm512_set1_epi32(i32::from_le_bytes(*x));
            for (group, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `i` is less than the length of the vector, and there are as many lines in each of the groups.
                let y = unsafe { _mm512_load_si512(columns.as_ptr().add(group * vector.len() + i).cast()) };
                *sum = _mm512_dpbusd_epi32(*sum, y, x);
            }
        }
        for (group, sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` has 16 numbers for each group.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(group * ROWS).cast(), sum) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod aarch64 {
    use std::arch::aarch64::*;

    use super::{QUAD, ROWS};
    use crate::memory::Line;

    /// Subtracts 128 from each stored byte, so that products fit in 16 bits; 128 times the sum of the vector
    /// compensates it.
    #[target_feature(enable = "neon")]
    pub fn neon(vector: &[[u8; QUAD]], columns: &[Line], out: &mut [i32]) {
        let taken_off = 128 * vector.as_flattened().iter().map(|x| i32::from(x.cast_signed())).sum::<i32>();
        for (group, out) in columns.chunks_exact(vector.len()).zip(out.as_chunks_mut::<ROWS>().0) {
            // Each has two sums of two rows.
            let mut sums = [[vdupq_n_s32(0); 2]; 4];
            for (x, line) in vector.iter().zip(group) {
                let x = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(*x)));
                for (i, [low, high]) in sums.iter_mut().enumerate() {
                    // SAFETY: a line has 64 bytes, and `16 i + 16` is 64 at most.
                    let y = unsafe { vld1q_u8(line.0.as_ptr().add(16 * i)) };
                    let y = vreinterpretq_s8_u8(veorq_u8(y, vdupq_n_u8(128)));
                    *low = vpadalq_s16(*low, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
                    *high = vpadalq_s16(*high, vmull_high_s8(x, y));
                }
            }
            for (i, [low, high]) in sums.into_iter().enumerate() {
                let sums = vaddq_s32(vpaddq_s32(low, high), vdupq_n_s32(taken_off));
                // SAFETY: `4 i + 4` is 16 at most.
                unsafe { vst1q_s32(out.as_mut_ptr().add(4 * i), sums) };
            }
        }
    }
}
