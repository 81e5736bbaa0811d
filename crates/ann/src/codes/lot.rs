//! Codes of some nodes side by side, to be compared with many queries one after the other.

use crate::kernels::columns::{QUAD, ROWS};
use crate::memory::{Line, bytes_of};
use crate::near::{Near, places, within};
use crate::space::Space;

use super::{Codes, Query, Records, distance};

/// Nodes of a lot: of some hundred numbers each, they stay in the first cache.
const NODES: usize = 4 * ROWS;

/// Up to [`NODES`] nodes and their codes.
#[derive(Default)]
pub(crate) struct Lot {
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
pub(super) struct Parts {
    pub sums: [i32; ROWS],
    pub scales: [f32; ROWS],
    pub squares: [f32; ROWS],
    /// Of codes of 8 bits their scales once more, of others the lengths of their errors.
    pub errors: [f32; ROWS],
}

impl Lot {
    pub const NODES: usize = NODES;
}

impl Codes {
    /// Brings the codes of up to [`Lot::NODES`] nodes into a lot.
    pub fn gather(&self, nodes: &[u32], lot: &mut Lot) {
        let quads = records!(&self.records, records => records.unpacked()).div_ceil(QUAD);
        lot.nodes.clear();
        lot.nodes.extend_from_slice(nodes);
        lot.columns.clear();
        lot.columns.resize(nodes.len().div_ceil(ROWS) * quads, Line::ZERO);
        lot.row.clear();
        lot.row.resize(quads * QUAD, 0);
        for (at, node) in nodes.iter().enumerate() {
            let (scale, square) = records!(&self.records, records => records.unpack(*node, &mut lot.row));
            lot.scales[at / ROWS][at % ROWS] = scale;
            lot.squares[at / ROWS][at % ROWS] = square;
            let group = &mut lot.columns[at / ROWS * quads..][..quads];
            for (line, quad) in group.iter_mut().zip(lot.row.as_chunks::<QUAD>().0) {
                line.0.as_chunks_mut::<QUAD>().0[at % ROWS] = *quad;
            }
        }
    }

    /// Calls `meet` with each node of a lot that is no farther than `worst`, and its distance, as [`Self::distance`] has it.
    pub fn compare(&self, query: &Query, lot: &mut Lot, worst: f32, space: Space, mut meet: impl FnMut(Near)) {
        let groups = lot.nodes.len().div_ceil(ROWS);
        let vector = &bytes_of(&query.lines).as_chunks().0[..lot.row.len() / QUAD];
        lot.sums.resize(groups * ROWS, 0);
        (space.kernels().columns)(vector, &lot.columns, &mut lot.sums);
        let (sums, _) = lot.sums.as_chunks::<ROWS>();
        for (group, nodes) in lot.nodes.chunks(ROWS).enumerate() {
            let parts = Parts {
                sums: sums[group],
                scales: lot.scales[group],
                squares: lot.squares[group],
                errors: [0.0; ROWS],
            };
            let distances = self.distances(query, &parts, space);
            for i in places(within(&distances[..nodes.len()], worst)) {
                meet(Near::new(distances[i], nodes[i]));
            }
        }
    }

    /// The distances of nodes, as [`Self::distance`] has them.
    #[inline(always)]
    pub(super) fn distances(&self, query: &Query, parts: &Parts, space: Space) -> [f32; ROWS] {
        let Parts { sums, scales, squares, .. } = parts;
        let products: [f32; ROWS] = match &self.records {
            Records::Bytes(bytes) => std::array::from_fn(|i| bytes.product(query, scales[i], sums[i])),
            Records::Nibbles(nibbles) => std::array::from_fn(|i| nibbles.product(query, scales[i], sums[i])),
        };
        std::array::from_fn(|i| distance(products[i], query.square + squares[i], space))
    }
}
