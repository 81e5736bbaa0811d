//! Binary codes: one bit per component, its sign (Gao and Long, SIGMOD 2024, "RaBitQ"). They select the nodes that are
//! worth a comparison by longer codes.
//!
//! A record consists of the bits (1: positive), padded with zeros to whole words, and a word with two numbers: the
//! factor from a signed sum to an inner product, and the squared length. Few missing words are padded to whole cache
//! lines, so that a record spans no more lines than necessary.

use crate::kernels::binary::{PLANES, ROWS, WORDS};
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows};
use crate::metric::Space;
use crate::neighbor::rank;

use super::{distance, inverse};

/// Bits per word.
const WORD: usize = 64;
/// Words per cache line.
const LINE: usize = Line::BYTES / size_of::<u64>();
/// Words of a record per word of padding, at least.
const WORDS_PER_PADDING: usize = 4;
/// Largest component of a quantized query.
const LARGEST: f32 = 15.0;

pub(super) struct BinaryCodes {
    width: usize,
    /// Words of a record that hold bits.
    words: usize,
    rows: Rows<u64>,
}

/// Transposed records of some nodes, in groups of [`ROWS`]; the last is padded with zeros.
#[derive(Default)]
pub(crate) struct PackedBinaryCodes {
    count: usize,
    /// Per group: words in the layout of [`crate::kernels::binary_columns`].
    columns: Vec<[u64; ROWS]>,
    factors: Vec<[f32; ROWS]>,
    squares: Vec<[f32; ROWS]>,
}

/// A query with components of 4 bits.
#[derive(Default)]
pub(crate) struct BinaryQuery {
    planes: Vec<u64>,
    /// Half of the quantization step.
    half_step: f32,
    square: f32,
}

impl BinaryCodes {
    pub fn new(width: usize) -> Self {
        let words = width.div_ceil(WORD);
        let lines = (words + 1).next_multiple_of(LINE);
        let is_little = (lines - words - 1) * WORDS_PER_PADDING <= words + 1;
        Self { width, words, rows: Rows::new(if is_little { lines } else { words + 1 }) }
    }

    pub fn size(&self) -> usize {
        self.rows.bytes()
    }

    pub fn view(&mut self) -> Self {
        Self { width: self.width, words: self.words, rows: self.rows.view() }
    }

    pub fn encode(&self, rotated: &[f32], kernels: &Kernels) -> Vec<u64> {
        let square = (kernels.dot)(rotated, rotated);
        let bit = |word: u64, x: &f32| word >> 1 | u64::from(*x > 0.0) << (WORD - 1);
        let mut record: Vec<u64> = rotated.chunks(WORD).map(|x| x.iter().fold(0, bit) >> (WORD - x.len())).collect();
        let sum: f32 = rotated.iter().map(|x| x.abs()).sum();
        let factor = if sum > 0.0 { square / sum } else { 0.0 };
        record.push(u64::from(factor.to_bits()) << 32 | u64::from(square.to_bits()));
        record.resize(self.rows.width(), 0);
        record
    }

    pub fn put(&mut self, node: u32, record: &[u64]) {
        self.rows.row_or_next(node).copy_from_slice(record);
    }

    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut BinaryQuery) {
        let step = (kernels.largest)(rotated) / (0.5 * LARGEST);
        let inverse = inverse(step);
        query.planes.clear();
        query.planes.resize(rotated.len().div_ceil(WORD * WORDS) * WORDS * PLANES, 0);
        for (i, x) in rotated.iter().enumerate() {
            // The cast truncates; the number is never negative.
            let number = (x * inverse + (0.5 * LARGEST + 0.5)).min(LARGEST) as u64;
            let first = i / (WORD * WORDS) * WORDS * PLANES + i / WORD % WORDS;
            for plane in 0..PLANES {
                query.planes[first + plane * WORDS] |= (number >> plane & 1) << (i % WORD);
            }
        }
        query.half_step = 0.5 * step;
        query.square = (kernels.dot)(rotated, rotated);
    }

    /// Standard deviation of the inner product with the query, from the excess length of the scaled signs over the
    /// vector.
    pub fn error(&self, query: &BinaryQuery, node: u32) -> f32 {
        let (factor, square) = self.numbers(node);
        query.square.sqrt() * (factor * factor - square / self.width as f32).max(0.0).sqrt()
    }

    fn numbers(&self, node: u32) -> (f32, f32) {
        numbers(self.rows.row(node)[self.words])
    }

    /// Approximate distances of the nodes, as [`rank`].
    pub fn ranks(&self, query: &BinaryQuery, nodes: &[u32], space: Space) -> Vec<u32> {
        let kernel = space.kernels().binary_differences;
        let mut found = Vec::with_capacity(nodes.len().next_multiple_of(ROWS));
        // Two groups, one prefetched ahead of the other. They are filled in place: copying data that was just written
        // stalls the processor.
        let (mut batches, mut rows) = (nodes.chunks(ROWS), [[&[][..]; ROWS]; 2]);
        batches.next().into_iter().for_each(|batch| self.fetch(batch, &mut rows[0]));
        for nth in 0..nodes.len().div_ceil(ROWS) {
            batches.next().into_iter().for_each(|batch| self.fetch(batch, &mut rows[(nth + 1) % 2]));
            let rows = &rows[nth % 2];
            let differences = kernel(rows, self.words, &query.planes);
            let numbers = rows.each_ref().map(|row| numbers(row[self.words]));
            let factors = numbers.map(|(factor, _)| factor);
            found.extend_from_slice(&self.ranked(
                query,
                differences,
                &factors,
                &numbers.map(|(_, square)| square),
                space,
            ));
        }
        found.truncate(nodes.len());
        found
    }

    /// Transposes the records of some nodes, to be compared with many queries.
    pub fn pack(&self, nodes: &[u32]) -> PackedBinaryCodes {
        let mut packed = PackedBinaryCodes { count: nodes.len(), ..PackedBinaryCodes::default() };
        packed.columns.resize(nodes.len().div_ceil(ROWS) * self.words, [0; ROWS]);
        for (nodes, columns) in nodes.chunks(ROWS).zip(packed.columns.chunks_exact_mut(self.words)) {
            let (mut factors, mut squares) = ([0.0; ROWS], [0.0; ROWS]);
            for (i, node) in nodes.iter().enumerate() {
                columns.iter_mut().zip(self.rows.row(*node)).for_each(|(column, word)| column[i] = *word);
                (factors[i], squares[i]) = self.numbers(*node);
            }
            packed.factors.push(factors);
            packed.squares.push(squares);
        }
        packed
    }

    /// As [`Self::ranks`], for packed nodes.
    pub fn ranks_of(&self, query: &BinaryQuery, packed: &PackedBinaryCodes, space: Space) -> Vec<u32> {
        let mut sums = vec![[0; ROWS]; packed.factors.len()];
        (space.kernels().binary_columns)(&packed.columns, self.words, &query.planes, &mut sums);
        for ((sums, factors), squares) in sums.iter_mut().zip(&packed.factors).zip(&packed.squares) {
            *sums = self.ranked(query, *sums, factors, squares, space);
        }
        let mut ranks = sums.into_flattened();
        ranks.truncate(packed.count);
        ranks
    }

    /// Distances from bit differences, as [`rank`].
    #[inline(always)]
    fn ranked(
        &self,
        query: &BinaryQuery,
        differences: [u32; ROWS],
        factors: &[f32; ROWS],
        squares: &[f32; ROWS],
        space: Space,
    ) -> [u32; ROWS] {
        let most = (LARGEST as usize * self.width) as i32;
        let sums = differences.map(|differ| query.half_step * (most - 2 * differ.cast_signed()) as f32);
        let products: [f32; ROWS] = std::array::from_fn(|i| factors[i] * sums[i]);
        std::array::from_fn(|i| rank(distance(products[i], query.square + squares[i], space)))
    }

    /// Looks up and prefetches the rows of a group; the last row replaces missing ones.
    #[inline]
    fn fetch<'a>(&'a self, batch: &[u32], rows: &mut [&'a [u64]; ROWS]) {
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.rows.row(batch[i.min(batch.len() - 1)]);
            // At most two lines, except for thousands of components.
            prefetch(&row[..1]);
            if row.len() != LINE {
                prefetch(&row[row.len() - 1..]);
            }
        }
    }
}

/// Factor and squared length in the last word of a record.
#[inline]
fn numbers(last: u64) -> (f32, f32) {
    (f32::from_bits((last >> 32) as u32), f32::from_bits(last as u32))
}
