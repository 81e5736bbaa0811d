//! The rows of profile `speed`: for each node, what a walk needs to judge all around it in one look: those it links to, and where
//! these leave room, others that link to it.
//!
//! A link leads a way `r = v - u` from its node `u` to a neighbour `v`, both as their codes say. Its code has a bit a number, the
//! sign. With `S(x)` the sum of the numbers of `x`, each with the sign of the way, `r·x` is about `|r|² / S(r) * S(x)` (Gao and
//! Long, SIGMOD 2024, "RaBitQ", 3.2), and the distance of a query `q` from `v` is what it is from `u`, and something that the
//! link knows, and a factor times `S(q)`. `S(q)` of 32 links is one scan of 4-bit codes: four signs a code.
//!
//! All of it follows from links and codes, and only queries look at it.
//!
//! A row, in lines, for every 32 links: ids; what is added and the factors, as bfloat16; then the codes as
//! [`crate::kernels::fast_scan`] has them.

use half::bf16;

use crate::kernels::estimates::{Column, EstimateInput};
use crate::kernels::fast_scan::{BLOCK_POINTS, LANE, PADDED};
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows, bytes_of, bytes_of_mut};
use crate::metric::{Metric, Space};
use crate::quantization::{Codes, inverse};
use crate::selection::set_bits;

/// Signs of a 4-bit code.
const SIGNS: usize = 4;
/// Bytes of 32 ids.
const IDS: usize = size_of::<u32>() * BLOCK_POINTS;
/// Bytes of 32 numbers.
const COLUMN: usize = size_of::<bf16>() * BLOCK_POINTS;
/// Where a block's codes begin.
const CODES: usize = IDS + 2 * COLUMN;
/// Largest number of a query as the scan sees it: four of them, with signs, make a byte when as much is added.
const LARGEST: usize = 31;

/// Rows by node.
pub(crate) struct PackedNeighbors {
    /// Codes of a link, filled up as the scan wants it.
    groups: usize,
    /// Lines of 32 links.
    block: usize,
    /// Largest number of a query: [`LARGEST`], or less where the sums would not fit 16 bits.
    largest: f32,
    rows: Rows<Line>,
    /// Signs of one way, a byte each.
    positive: Vec<u8>,
}

/// A query as rows are asked for it.
#[derive(Default)]
pub(crate) struct PackedQuery {
    table: Vec<u8>,
    scale: f32,
    /// What all sums have too much.
    above: f32,
}

impl PackedNeighbors {
    /// For codes of `width` numbers and `links` links a node.
    pub fn new(width: usize, links: usize) -> Self {
        let groups = width.div_ceil(SIGNS).next_multiple_of(PADDED);
        let block = (CODES + groups * LANE) / Line::BYTES;
        let largest = LARGEST.min(usize::from(u16::MAX) / (2 * SIGNS * groups)) as f32;
        let rows = Rows::new(block * links.div_ceil(BLOCK_POINTS));
        Self { groups, block, largest, rows, positive: vec![0; width] }
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// The rows as they are now, to be looked at.
    pub fn view(&mut self) -> Self {
        let Self { groups, block, largest, .. } = *self;
        Self { groups, block, largest, rows: self.rows.view(), positive: Vec::new() }
    }

    /// As [`Rows::patched_rows`].
    pub fn patched_rows(&self) -> usize {
        self.rows.patched_rows()
    }

    /// Brings the row of a node up to what is around it ([`super::Graph::surrounding`]).
    pub fn update(&mut self, node: u32, surrounding: &[u32], codes: &Codes, space: Space) {
        while self.rows.len() <= node as usize {
            let mut row = vec![Line::ZERO; self.rows.width()];
            row.chunks_exact_mut(self.block).for_each(|block| bytes_of_mut(block)[..IDS].fill(u8::MAX));
            self.rows.push(&row);
        }
        let row = self.rows.row_mut(node);
        for at in 0..row.len() / self.block * BLOCK_POINTS {
            let link = surrounding.get(at).copied().unwrap_or(u32::MAX);
            let bytes = bytes_of_mut(&mut row[at / BLOCK_POINTS * self.block..][..self.block]);
            let place = at % BLOCK_POINTS;
            let id = &mut bytes[4 * place..][..4];
            if *id == link.to_ne_bytes() {
                continue;
            }
            id.copy_from_slice(&link.to_ne_bytes());
            if link == u32::MAX {
                continue;
            }
            let (Some(from), Some(to)) = (codes.bytes(node), codes.bytes(link)) else {
                unreachable!("packed neighbors require 8-bit codes")
            };
            let sums = (space.kernels().code_difference)(from, to, &mut self.positive);
            let factor = if sums.magnitude > 0.0 { sums.square / sums.magnitude } else { 0.0 };
            let (added, factor) = match space.metric() {
                Metric::Euclid => (sums.square + 2.0 * factor * sums.signed, -2.0 * factor),
                Metric::Cosine | Metric::Dot | Metric::Manhattan => (factor * sums.signed - sums.along, -factor),
            };
            for (column, x) in [added, factor].into_iter().enumerate() {
                bytes[IDS + column * COLUMN + 2 * place..][..2].copy_from_slice(&bf16::from_f32(x).to_ne_bytes());
            }
            set_code(&mut bytes[CODES..], place, &self.positive);
        }
    }

    /// A node that is gone: its links are forgotten, as another point may come to have their numbers.
    pub fn clear(&mut self, node: u32) {
        if (node as usize) < self.rows.len() {
            for block in self.rows.row_mut(node).chunks_exact_mut(self.block) {
                bytes_of_mut(block)[..IDS].fill(u8::MAX);
            }
        }
    }

    /// Makes the table of a rotated query.
    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut PackedQuery) {
        let step = (kernels.largest)(rotated) / self.largest;
        let inverse = inverse(step);
        query.scale = if inverse > 0.0 { step } else { 0.0 };
        query.above = rotated.len() as f32 * self.largest;
        query.table.resize(self.groups * LANE, 0);
        (kernels.sign_sums)(rotated, inverse, self.largest, &mut query.table[..4 * rotated.len()]);
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        prefetch(self.rows.row(node));
    }

    /// Calls `visit` with each link of a node whose estimated distance is less than `worst`, and that estimate. `here`: the
    /// distance of the node itself.
    #[inline]
    pub fn estimate_distances(
        &self,
        node: u32,
        here: f32,
        worst: f32,
        query: &PackedQuery,
        kernels: &Kernels,
        mut visit: impl FnMut(u32, f32),
    ) {
        let (mut sums, mut estimates) = ([0; BLOCK_POINTS], [0.0; BLOCK_POINTS]);
        for block in self.rows.row(node).chunks_exact(self.block) {
            let bytes = bytes_of(block);
            let ids: &[u32] = bytemuck::cast_slice(&bytes[..IDS]);
            let (added, factors) = (column(bytes, 0), column(bytes, 1));
            (kernels.fast_scan)(&bytes[CODES..], &query.table, 0, &mut sums);
            let input =
                EstimateInput { sums: &sums, above: query.above, scale: query.scale, added, factors, here, worst };
            for i in set_bits((kernels.estimates)(input, &mut estimates)) {
                if ids[i] != u32::MAX {
                    visit(ids[i], estimates[i]);
                }
            }
        }
    }
}

/// One of the columns of a block.
#[inline]
fn column(block: &[u8], nth: usize) -> &Column {
    bytemuck::from_bytes(&block[IDS + nth * COLUMN..][..COLUMN])
}

/// Writes the code of a place of a block, four signs at a time.
fn set_code(codes: &mut [u8], place: usize, positive: &[u8]) {
    let shift = 4 * (place / LANE);
    for (group, four) in positive.chunks(SIGNS).enumerate() {
        let code = four.iter().rev().fold(0, |code, positive| code << 1 | positive);
        let byte = &mut codes[group * LANE + place % LANE];
        *byte = *byte & !(15 << shift) | code << shift;
    }
}
