//! Codes of some nodes side by side, to be compared with many queries one after the other.

use crate::kernels::columns::{QUAD, ROWS};
use crate::memory::{Line, bytes_of};
use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::selection::{set_bits, within};

use super::{Codes, Query, Records, distance};

/// Nodes of a lot: of some hundred numbers each, they stay in the first cache.
const NODES: usize = 4 * ROWS;

/// Up to [`NODES`] nodes and their codes.
#[derive(Default)]
pub(crate) struct CodeBatch {
    nodes: Vec<u32>,
    /// As [`crate::kernels::columns`] wants them.
    columns: Vec<Line>,
    /// By node: scale and squared length.
    scales: [[f32; ROWS]; NODES / ROWS],
    squares: [[f32; ROWS]; NODES / ROWS],
    /// Memory that gathering and comparing work in.
    row: Vec<u8>,
    sums: Vec<i32>,
}

/// The parts of the distances of some nodes, by node.
#[derive(Default)]
pub(super) struct DistanceTerms {
    pub sums: [i32; ROWS],
    pub scales: [f32; ROWS],
    pub squares: [f32; ROWS],
    /// Of codes of 8 bits their scales once more, of others the lengths of their errors.
    pub errors: [f32; ROWS],
}

impl CodeBatch {
    pub const NODES: usize = NODES;
}

impl Codes {
    /// Brings the codes of up to [`CodeBatch::NODES`] nodes into a lot.
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

    /// Calls `visit` with each node of a lot that is no farther than `worst`, and its distance, as [`Self::distance`] has it.
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

    /// The distances of nodes, as [`Self::distance`] has them.
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
