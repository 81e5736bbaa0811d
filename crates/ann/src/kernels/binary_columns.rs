//! Binary codes against queries of 4 bits per component, as in `binary`, stored by column: no sum crosses lanes. The
//! compiler vectorizes it.

use super::binary::{PLANES, ROWS, WORDS};

/// Results of [`super::binary::BinaryDifferences`] for many rows. Word `i` of the first [`ROWS`] rows is in `columns[i]`;
/// the next rows follow after `words` columns. `words > 0`, `columns.len() == words * sums.len()`.
pub(crate) type BinaryColumns = fn(columns: &[[u64; ROWS]], words: usize, planes: &[u64], sums: &mut [[u32; ROWS]]);

/// The reference.
#[inline(always)]
pub(super) fn scalar(columns: &[[u64; ROWS]], words: usize, planes: &[u64], sums: &mut [[u32; ROWS]]) {
    for (columns, sums) in columns.chunks_exact(words).zip(sums) {
        let mut counts = [[0_u64; ROWS]; PLANES];
        for (i, column) in columns.iter().enumerate() {
            let planes = &planes[i / WORDS * WORDS * PLANES + i % WORDS..];
            for (plane, counts) in counts.iter_mut().enumerate() {
                let numbers = planes[plane * WORDS];
                for (count, bits) in counts.iter_mut().zip(column) {
                    *count += u64::from((bits ^ numbers).count_ones());
                }
            }
        }
        let sum = |row: usize| (0..PLANES).map(|plane| counts[plane][row] << plane).sum::<u64>();
        *sums = std::array::from_fn(|row| sum(row) as u32);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::ROWS;

    #[target_feature(enable = "avx2,popcnt")]
    pub fn avx2(columns: &[[u64; ROWS]], words: usize, planes: &[u64], sums: &mut [[u32; ROWS]]) {
        super::scalar(columns, words, planes, sums);
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
    pub fn avx512(columns: &[[u64; ROWS]], words: usize, planes: &[u64], sums: &mut [[u32; ROWS]]) {
        super::scalar(columns, words, planes, sums);
    }
}
