//! Codes of one bit a number: the sign (Gao and Long, SIGMOD 2024, "RaBitQ"). They say which of many nodes are worth comparing.
//!
//! A record: a bit a number, one for a positive one, filled up with zeros to whole words; then a word of two numbers: what a sum of
//! products with signs is multiplied by to be an inner product, and the squared length. Zeros fill it up to whole lines of the
//! processor's cache where these are few: no record is then on a line more than it must be.

use crate::kernels::binary::{PLANES, ROWS, WORDS};
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows};
use crate::metric::Space;
use crate::neighbor::rank;

use super::{distance, inverse};

/// Numbers of a word.
const WORD: usize = 64;
/// Words of a line.
const LINE: usize = Line::BYTES / size_of::<u64>();
/// Words of a record for one that may fill it up.
const WORDS_PER_PADDING: usize = 4;
/// The largest number of a query.
const LARGEST: f32 = 15.0;

pub(super) struct BinaryCodes {
    width: usize,
    /// Those of a record that hold bits.
    words: usize,
    rows: Rows<u64>,
}

/// Records of some nodes side by side, in lots of [`ROWS`]; the last is filled up with zeros.
#[derive(Default)]
pub(crate) struct PackedBinaryCodes {
    count: usize,
    /// By lot: its words, as [`crate::kernels::binary_columns`] wants them.
    columns: Vec<[u64; ROWS]>,
    factors: Vec<[f32; ROWS]>,
    squares: Vec<[f32; ROWS]>,
}

/// A vector as signs are compared with it: numbers of 4 bits.
#[derive(Default)]
pub(crate) struct BinaryQuery {
    planes: Vec<u64>,
    /// Half of the step between two numbers.
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
            // Cut off as it is never negative.
            let number = (x * inverse + (0.5 * LARGEST + 0.5)).min(LARGEST) as u64;
            let first = i / (WORD * WORDS) * WORDS * PLANES + i / WORD % WORDS;
            for plane in 0..PLANES {
                query.planes[first + plane * WORDS] |= (number >> plane & 1) << (i % WORD);
            }
        }
        query.half_step = 0.5 * step;
        query.square = (kernels.dot)(rotated, rotated);
    }

    /// The deviation of a product with the query, by how much longer than the vector its signs are that say the same of it.
    pub fn error(&self, query: &BinaryQuery, node: u32) -> f32 {
        let (factor, square) = self.numbers(node);
        query.square.sqrt() * (factor * factor - square / self.width as f32).max(0.0).sqrt()
    }

    fn numbers(&self, node: u32) -> (f32, f32) {
        numbers(self.rows.row(node)[self.words])
    }

    /// About how far each of the nodes is, as [`rank`] has it.
    pub fn ranks(&self, query: &BinaryQuery, nodes: &[u32], space: Space) -> Vec<u32> {
        let kernel = space.kernels().binary_differences;
        let mut found = Vec::with_capacity(nodes.len().next_multiple_of(ROWS));
        // Two lots, one ahead of the other. They are filled where they lie: copying what was just written stalls the processor.
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

    /// The records of some nodes, to be compared with many queries.
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

    /// As [`Self::ranks`], of the nodes that were packed.
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

    /// What differences say of the nodes with these numbers.
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

    /// Finds the rows of some nodes and asks for them before they are read; the last one's in place of those that are missing.
    #[inline]
    fn fetch<'a>(&'a self, batch: &[u32], rows: &mut [&'a [u64]; ROWS]) {
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.rows.row(batch[i.min(batch.len() - 1)]);
            // Two lines at most, but for thousands of numbers.
            prefetch(&row[..1]);
            if row.len() != LINE {
                prefetch(&row[row.len() - 1..]);
            }
        }
    }
}

/// The factor and the square that the last word of a record is.
#[inline]
fn numbers(last: u64) -> (f32, f32) {
    (f32::from_bits((last >> 32) as u32), f32::from_bits(last as u32))
}
