//! Transposed codes of a batch of nodes, to be compared with many queries.

use crate::kernels::columns::{QUAD, ROWS};
use crate::memory::{Line, bytes_of};
use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::selection::{set_bits, within};

use super::{Codes, Query, Records, distance};

/// Nodes of a batch: with some hundred components each, their codes stay in the L1 cache.
const NODES: usize = 4 * ROWS;

/// Up to [`NODES`] nodes and their codes.
#[derive(Default)]
pub(crate) struct CodeBatch {
    nodes: Vec<u32>,
    /// In the layout of [`crate::kernels::columns`].
    columns: Vec<Line>,
    /// Per node: scale and squared length.
    scales: [[f32; ROWS]; NODES / ROWS],
    squares: [[f32; ROWS]; NODES / ROWS],
    /// Reused memory.
    row: Vec<u8>,
    sums: Vec<i32>,
}

/// Terms of the distances of some nodes.
#[derive(Default)]
pub(super) struct DistanceTerms {
    pub sums: [i32; ROWS],
    pub scales: [f32; ROWS],
    pub squares: [f32; ROWS],
    /// Of 8-bit codes their scale again, of others the length of their error.
    pub errors: [f32; ROWS],
}

impl CodeBatch {
    pub const NODES: usize = NODES;
}

impl Codes {
    /// Transposes the codes of up to [`CodeBatch::NODES`] nodes.
    pub fn load_batch(&self, nodes: &[u32], batch: &mut CodeBatch) {
        let quads = records!(&self.records, records => records.unpacked_len()).div_ceil(QUAD);
        batch.nodes.clear();
        batch.nodes.extend_from_slice(nodes);
        batch.columns.clear();
        batch.columns.resize(nodes.len().div_ceil(ROWS) * quads, Line::ZERO);
        batch.row.clear();
        batch.row.resize(quads * QUAD, 0);
        for (at, node) in nodes.iter().enumerate() {
            let (scale, square) = records!(&self.records, records => records.unpack(*node, &mut batch.row));
            batch.scales[at / ROWS][at % ROWS] = scale;
            batch.squares[at / ROWS][at % ROWS] = square;
            let group = &mut batch.columns[at / ROWS * quads..][..quads];
            for (line, quad) in group.iter_mut().zip(batch.row.as_chunks::<QUAD>().0) {
                line.0.as_chunks_mut::<QUAD>().0[at % ROWS] = *quad;
            }
        }
    }

    /// Calls `visit` with each node of a batch whose distance is at most `worst`; distances equal [`Self::distance`].
    pub fn compare_batch(
        &self,
        query: &Query,
        batch: &mut CodeBatch,
        worst: f32,
        space: Space,
        mut visit: impl FnMut(Neighbor),
    ) {
        let groups = batch.nodes.len().div_ceil(ROWS);
        let vector = &bytes_of(&query.lines).as_chunks().0[..batch.row.len() / QUAD];
        batch.sums.resize(groups * ROWS, 0);
        (space.kernels().columns)(vector, &batch.columns, &mut batch.sums);
        let (sums, _) = batch.sums.as_chunks::<ROWS>();
        for (group, nodes) in batch.nodes.chunks(ROWS).enumerate() {
            let parts = DistanceTerms {
                sums: sums[group],
                scales: batch.scales[group],
                squares: batch.squares[group],
                errors: [0.0; ROWS],
            };
            let distances = self.distances(query, &parts, space);
            for i in set_bits(within(&distances[..nodes.len()], worst)) {
                visit(Neighbor::new(distances[i], nodes[i]));
            }
        }
    }

    /// Distances from their terms; they equal [`Self::distance`].
    #[inline(always)]
    pub(super) fn distances(&self, query: &Query, parts: &DistanceTerms, space: Space) -> [f32; ROWS] {
        let DistanceTerms { sums, scales, squares, .. } = parts;
        let products: [f32; ROWS] = match &self.records {
            Records::Int8(bytes) => std::array::from_fn(|i| bytes.product(query, scales[i], sums[i])),
            Records::Int4(nibbles) => std::array::from_fn(|i| nibbles.product(query, scales[i], sums[i])),
        };
        std::array::from_fn(|i| distance(products[i], query.square + squares[i], space))
    }
}
