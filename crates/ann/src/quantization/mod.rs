//! Vectors as codes: some bits for each of the numbers that a random rotation made alike.
//!
//! A code stands for whole numbers times a scale; so inner products are sums of whole numbers, equal on every instruction set,
//! and a graph may be built by them. Nothing is learnt, so the first vector is encoded as the last one will be.
//!
//! - `rotation`: what is done to a vector first; `bytes`: 8 bits a number; `nibbles`: 4; `signs`: 1, beside either;
//! - `batch`: codes of some nodes side by side; `bounds`: what they prove about distances by vectors.

/// Calls what either kind of records has.
macro_rules! records {
    ($either:expr, $records:ident => $call:expr) => {
        match $either {
            Records::Int8($records) => $call,
            Records::Int4($records) => $call,
        }
    };
}

mod batch;
mod binary;
mod bounds;
pub(crate) mod code_scan;
mod int4;
mod int8;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::kernels::Kernels;
use crate::memory::Line;
use crate::metric::{Metric, Space};
use crate::neighbor::{Neighbor, add_slack};

pub(crate) use batch::CodeBatch;
use binary::BinaryCodes;
pub(crate) use binary::{BinaryQuery, PackedBinaryCodes};
use int4::Int4Codes;
use int8::Int8Codes;
pub(crate) use int8::{convert, to_signed};
use rotation::Rotation;

/// Deviations of an error, beyond which it is not reckoned with.
const DEVIATIONS: f32 = 3.0;

/// Codes by node.
pub(crate) struct Codes {
    rotation: Arc<Rotation>,
    records: Records,
    signs: BinaryCodes,
}

enum Records {
    Int8(Int8Codes),
    Int4(Int4Codes),
}

/// What will be in the rows of a node.
#[derive(Clone)]
pub(crate) struct Code {
    record: Vec<u8>,
    signs: Vec<u64>,
}

/// A vector as codes are compared with it: bytes with signs.
#[derive(Default)]
pub(crate) struct Query {
    lines: Vec<Line>,
    scale: f32,
    square: f32,
    /// What all sums have too much.
    offset: i32,
}

impl Codes {
    /// Of 8 bits a number, or of 4.
    pub fn new(dim: usize, seed: u64, is_short: bool) -> Self {
        let rotation = Rotation::new(dim, seed);
        let width = rotation.width();
        let records =
            if is_short { Records::Int4(Int4Codes::new(width)) } else { Records::Int8(Int8Codes::new(width)) };
        Self { rotation: Arc::new(rotation), records, signs: BinaryCodes::new(width) }
    }

    /// Numbers of a code.
    pub fn width(&self) -> usize {
        self.rotation.width()
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.signs.size() + records!(&self.records, records => records.size())
    }

    /// The codes there are now, to be looked at.
    pub fn view(&mut self) -> Self {
        let records = match &mut self.records {
            Records::Int8(bytes) => Records::Int8(bytes.view()),
            Records::Int4(nibbles) => Records::Int4(nibbles.view()),
        };
        Self { rotation: Arc::clone(&self.rotation), records, signs: self.signs.view() }
    }

    /// Turns a vector as all codes are turned.
    pub fn rotate(&self, vector: &[f32], kernels: &Kernels, out: &mut Vec<f32>) {
        self.rotation.apply(vector, kernels, out);
    }

    /// The code of a vector.
    pub fn code_of(&self, vector: &[f32], kernels: &Kernels) -> Code {
        let mut rotated = Vec::with_capacity(self.width());
        self.rotate(vector, kernels, &mut rotated);
        self.encode(&rotated, kernels)
    }

    /// The code of a rotated vector. One whose numbers overflow has a scale that is not finite, and is far from all.
    pub fn encode(&self, rotated: &[f32], kernels: &Kernels) -> Code {
        let record = records!(&self.records, records => records.encode(rotated, kernels));
        Code { record, signs: self.signs.encode(rotated, kernels) }
    }

    /// Puts a code in a node's row; the node is one of those there are, or the next.
    pub fn put(&mut self, node: u32, code: &Code) {
        records!(&mut self.records, records => records.put(node, &code.record));
        self.signs.put(node, &code.signs);
    }

    /// The bytes of a node, and their scale; none where codes are shorter.
    pub fn bytes(&self, node: u32) -> Option<(&[u8], f32)> {
        match &self.records {
            Records::Int8(bytes) => Some(bytes.row(node)),
            Records::Int4(_) => None,
        }
    }

    /// Makes the query that a node is.
    pub fn set_query_node(&self, node: u32, query: &mut Query) {
        records!(&self.records, records => records.set_query_node(node, query));
    }

    /// Makes the query that a rotated vector is.
    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut Query) {
        records!(&self.records, records => records.set_query(rotated, kernels, query));
    }

    /// Makes the query that a vector is, which it turns in the memory it is given.
    pub fn set_query_vector(&self, vector: &[f32], kernels: &Kernels, rotated: &mut Vec<f32>, query: &mut Query) {
        self.rotate(vector, kernels, rotated);
        self.set_query(rotated, kernels, query);
    }

    #[inline]
    pub fn distance(&self, query: &Query, node: u32, space: Space) -> f32 {
        records!(&self.records, records => records.distance(query, node, space))
    }

    /// Makes the query by signs that a rotated vector is.
    pub fn set_binary_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut BinaryQuery) {
        self.signs.set_query(rotated, kernels, query);
    }

    /// About how far each of the nodes is, by a bit a number, as [`crate::near::rank`] has it.
    pub fn binary_distances(&self, query: &BinaryQuery, nodes: &[u32], space: Space) -> Vec<u32> {
        self.signs.ranks(query, nodes, space)
    }

    /// Sketches of some nodes side by side, to be compared with many queries.
    pub fn pack_binary(&self, nodes: &[u32]) -> PackedBinaryCodes {
        self.signs.pack(nodes)
    }

    /// As [`Self::binary_distances`], of the nodes that were packed.
    pub fn packed_binary_distances(&self, query: &BinaryQuery, packed: &PackedBinaryCodes, space: Space) -> Vec<u32> {
        self.signs.ranks_of(query, packed, space)
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        records!(&self.records, records => records.prefetch(node));
    }

    /// By how much a distance by codes may be wrong. The error of a code has any direction alike, so as a product with the query it
    /// is about normal (Gao and Long, SIGMOD 2024, "RaBitQ", 3.2.2).
    pub fn slack(&self, query: &Query, node: u32, space: Space) -> f32 {
        let error = records!(&self.records, records => records.error(query, node));
        slack(DEVIATIONS * error / (self.width() as f32).sqrt(), space)
    }

    /// The same of a distance by signs.
    pub fn binary_slack(&self, query: &BinaryQuery, node: u32, space: Space) -> f32 {
        slack(DEVIATIONS * self.signs.error(query, node), space)
    }

    /// Of nodes that were sorted by their codes, how many of the first may be among the `k` nearest.
    pub fn rerank_cutoff(&self, query: &Query, sorted: &[Neighbor], k: usize, space: Space) -> usize {
        let Some(last) = sorted.get(k - 1) else { return sorted.len() };
        let worst = add_slack(last.distance(), self.slack(query, last.id(), space));
        sorted.partition_point(|neighbor| neighbor.distance() <= worst)
    }

    /// How many of the nearest by codes hold the `k` nearest, as far as is worth looking.
    pub fn shortlist(&self, k: usize) -> usize {
        let times = match &self.records {
            Records::Int8(_) => 2,
            Records::Int4(_) => 6,
        };
        k.saturating_mul(times)
    }
}

/// What numbers are multiplied by to count in steps; 0, so that all count as none, where a step is 0 or overflowed.
pub(crate) fn inverse(step: f32) -> f32 {
    let inverse = 1.0 / step;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// How far a distance is off where the product is off by so much.
fn slack(error: f32, space: Space) -> f32 {
    if space.metric() == Metric::Euclid { 2.0 * error } else { error }
}

/// The distance by an inner product.
#[inline]
fn distance(product: f32, squares: f32, space: Space) -> f32 {
    let distance = match space.metric() {
        Metric::Cosine | Metric::Dot => 0.0 - product,
        Metric::Euclid => squares - 2.0 * product,
        Metric::Manhattan => unreachable!("no codes are made for Manhattan"),
    };
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// The nth number of a tail.
#[inline]
fn number(tail: &[u8], nth: usize) -> f32 {
    let (numbers, _) = tail.as_chunks();
    numbers.get(nth).map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}
