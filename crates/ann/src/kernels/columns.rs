//! One vector against 16 rows that are stored by column: the inner products need no sum across lanes.
//!
//! Number `i` of row `r` stands at `16 i + r`. Each product is summed in the order of the numbers with fused multiply-add, so
//! the twins agree bit by bit.

/// Rows side by side.
pub(crate) const ROWS: usize = 16;

/// Inner products of `vector` with each row of each group of 16: `columns.len() == groups * vector.len() * 16`,
/// `out.len() == groups * 16`.
pub(crate) type Columns = fn(vector: &[f32], columns: &[f32], out: &mut [f32]);

/// The definition.
pub(super) fn scalar(vector: &[f32], columns: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (group, out) in columns.chunks_exact(vector.len() * ROWS).zip(out.chunks_exact_mut(ROWS)) {
        for (x, column) in vector.iter().zip(group.chunks_exact(ROWS)) {
            for (sum, y) in out.iter_mut().zip(column) {
                *sum = x.mul_add(*y, *sum);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::ROWS;

    macro_rules! columns {
        ($name:ident, $features:literal, $width:literal, $zero:ident, $set:ident, $load:ident, $fma:ident, $store:ident) => {
            /// As many registers as hide the latency of a fused multiply-add: 64 rows at once where there are as many.
            #[target_feature(enable = $features)]
            pub fn $name(vector: &[f32], columns: &[f32], out: &mut [f32]) {
                let (dim, groups) = (vector.len(), out.len() / ROWS);
                assert_eq!(columns.len(), groups * dim * ROWS, "rows by column");
                let stride = dim * ROWS;
                let mut group = 0;
                while group < groups {
                    let together = (groups - group).min(4);
                    let mut sums = [$zero(); 4 * ROWS / $width];
                    for (i, x) in vector.iter().enumerate() {
                        let x = $set(*x);
                        for (at, sum) in sums.iter_mut().enumerate().take(together * ROWS / $width) {
                            let place = (group + at * $width / ROWS) * stride + i * ROWS + at * $width % ROWS;
                            // SAFETY: `place + $width` lies inside its group's column `i`, and the groups inside `columns`.
                            let y = unsafe { $load(columns.as_ptr().add(place)) };
                            *sum = $fma(x, y, *sum);
                        }
                    }
                    for (at, sum) in sums.iter().enumerate().take(together * ROWS / $width) {
                        // SAFETY: `out` has 16 numbers for each group.
                        unsafe { $store(out.as_mut_ptr().add(group * ROWS + at * $width), *sum) };
                    }
                    group += together;
                }
            }
        };
    }

    columns!(
        avx2,
        "avx2,fma",
        8,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
    columns!(
        avx512,
        "avx512f",
        16,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod aarch64 {
    use std::arch::aarch64::*;

    use super::ROWS;

    /// `f32` in a register.
    const WIDTH: usize = 4;
    /// Groups at once where there are as many: their sums fill half of the registers and hide the latency of a fused
    /// multiply-add.
    const TOGETHER: usize = 4;

    #[target_feature(enable = "neon")]
    pub fn neon(vector: &[f32], columns: &[f32], out: &mut [f32]) {
        let (stride, groups) = (vector.len() * ROWS, out.len() / ROWS);
        assert_eq!(columns.len(), groups * stride, "rows by column");
        let together = groups - groups % TOGETHER;
        let (columns, last) = columns.split_at(together * stride);
        let (out, last_out) = out.split_at_mut(together * ROWS);
        for (columns, out) in columns.chunks_exact(TOGETHER * stride).zip(out.chunks_exact_mut(TOGETHER * ROWS)) {
            multiply::<TOGETHER>(vector, columns, out);
        }
        for (columns, out) in last.chunks_exact(stride).zip(last_out.chunks_exact_mut(ROWS)) {
            multiply::<1>(vector, columns, out);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn multiply<const GROUPS: usize>(vector: &[f32], columns: &[f32], out: &mut [f32]) {
        let stride = vector.len() * ROWS;
        assert!(columns.len() == GROUPS * stride && out.len() == GROUPS * ROWS, "whole groups");
        let mut sums = [[vdupq_n_f32(0.0); ROWS / WIDTH]; GROUPS];
        for (i, x) in vector.iter().enumerate() {
            let x = vdupq_n_f32(*x);
            for (group, sums) in sums.iter_mut().enumerate() {
                for (part, sum) in sums.iter_mut().enumerate() {
                    let place = group * stride + i * ROWS + part * WIDTH;
                    // SAFETY: `place + WIDTH` lies inside its group's column `i`, and the groups inside `columns`.
                    let y = unsafe { vld1q_f32(columns.as_ptr().add(place)) };
                    *sum = vfmaq_f32(*sum, x, y);
                }
            }
        }
        for (at, sum) in sums.as_flattened().iter().enumerate() {
            // SAFETY: `out` has 16 numbers for each group.
            unsafe { vst1q_f32(out.as_mut_ptr().add(at * WIDTH), *sum) };
        }
    }
}
