//! Packed neighbors of profile `speed`: per node one row with everything needed to estimate the distances of its links,
//! and, if there is room, of nodes that link to it.
//!
//! The difference `r = v - u` between a node `u` and its neighbor `v`, both decoded, is stored as one bit per
//! component, its sign. Let `S(x)` be the sum of the components of `x`, each with the sign of `r`. Then `r·x` is about
//! `|r|² / S(r) * S(x)` (Gao and Long, SIGMOD 2024, "RaBitQ", 3.2). So the distance of a query `q` from `v` is its
//! distance from `u`, plus a constant of the link, plus a factor of the link times `S(q)`. `S(q)` of 32 links is one
//! scan of 4-bit codes, with four signs per code.
//!
//! All rows are derived from links and codes, and only queries read them.
//!
//! A row consists, in cache lines, for every 32 links: node numbers; constants and factors, as bfloat16; then codes in
//! the layout of [`crate::kernels::fast_scan`].

use half::bf16;

use crate::kernels::estimates::{Column, EstimateInput};
use crate::kernels::fast_scan::{BLOCK_POINTS, LANE, PADDED};
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows, bytes_of, bytes_of_mut};
use crate::metric::{Metric, Space};
use crate::quantization::{Codes, inverse};
use crate::selection::set_bits;

/// Signs per 4-bit code.
const SIGNS: usize = 4;
/// Bytes of 32 node numbers.
const IDS: usize = size_of::<u32>() * BLOCK_POINTS;
/// Bytes of 32 components of type bfloat16.
const COLUMN: usize = size_of::<bf16>() * BLOCK_POINTS;
/// Offset of the codes in a block.
const CODES: usize = IDS + 2 * COLUMN;
/// Largest component of a quantized query: the signed sum of four components, plus an offset of as much, fits a byte.
const LARGEST: usize = 31;

/// Rows per node.
pub(crate) struct PackedNeighbors {
    /// Codes per link, padded as the scan requires.
    groups: usize,
    /// Cache lines per 32 links.
    block: usize,
    /// Largest component of a quantized query: [`LARGEST`], or less where the sums would exceed 16 bits.
    largest: f32,
    rows: Rows<Line>,
    /// Signs of one difference, a byte each.
    positive: Vec<u8>,
}

/// A query quantized for the scan of rows.
#[derive(Default)]
pub(crate) struct PackedQuery {
    table: Vec<u8>,
    scale: f32,
    /// Offset of all sums.
    above: f32,
}

impl PackedNeighbors {
    /// For codes of `width` components and `links` links per node.
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

    /// The current rows, read-only.
    pub fn view(&mut self) -> Self {
        let Self { groups, block, largest, .. } = *self;
        Self { groups, block, largest, rows: self.rows.view(), positive: Vec::new() }
    }

    /// As [`Rows::patched_rows`].
    pub fn patched_rows(&self) -> usize {
        self.rows.patched_rows()
    }

    /// Updates the row of a node to the nodes around it ([`super::Graph::surrounding`]).
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

    /// Clears the row of a deleted node, because the numbers of its links may be reused.
    pub fn clear(&mut self, node: u32) {
        if (node as usize) < self.rows.len() {
            for block in self.rows.row_mut(node).chunks_exact_mut(self.block) {
                bytes_of_mut(block)[..IDS].fill(u8::MAX);
            }
        }
    }

    /// Quantizes a rotated query.
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

    /// Calls `visit` with each link of a node whose estimated distance is below `worst`, and with the estimate. `here`:
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

/// A column of a block.
#[inline]
fn column(block: &[u8], nth: usize) -> &Column {
    bytemuck::from_bytes(&block[IDS + nth * COLUMN..][..COLUMN])
}

/// Writes the code of one position in a block, four signs at a time.
fn set_code(codes: &mut [u8], place: usize, positive: &[u8]) {
    let shift = 4 * (place / LANE);
    for (group, four) in positive.chunks(SIGNS).enumerate() {
        let code = four.iter().rev().fold(0, |code, positive| code << 1 | positive);
        let byte = &mut codes[group * LANE + place % LANE];
        *byte = *byte & !(15 << shift) | code << shift;
    }
}
