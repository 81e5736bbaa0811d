//! Quantization: vectors as codes of a few bits per component, after a random rotation.
//!
//! A code stands for integers times a scale. Inner products are sums of integers, equal on every instruction set, so a
//! graph may be built from them. Nothing is trained: the first vector is encoded like the last one.
//!
//! - `rotation`: applied to vectors first; `int8`, `int4`: 8 or 4 bits per component; `binary`: 1 bit, in addition to
//!   either;
//! - `batch`: transposed codes; `code_scan`: scans of single nodes; `bounds`: proven bounds of distances by vector.

/// Calls a method of either kind of record.
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

/// Standard deviations of an error that are taken into account.
const DEVIATIONS: f32 = 3.0;

/// Codes of all nodes.
pub(crate) struct Codes {
    rotation: Arc<Rotation>,
    records: Records,
    signs: BinaryCodes,
}

enum Records {
    Int8(Int8Codes),
    Int4(Int4Codes),
}

/// Code of one vector.
#[derive(Clone)]
pub(crate) struct Code {
    record: Vec<u8>,
    signs: Vec<u64>,
}

/// A query for comparison with codes: signed bytes.
#[derive(Default)]
pub(crate) struct Query {
    lines: Vec<Line>,
    scale: f32,
    square: f32,
    /// Offset of all sums.
    offset: i32,
}

impl Codes {
    /// With 4 bits per component if `is_short`, else with 8.
    pub fn new(dim: usize, seed: u64, is_short: bool) -> Self {
        let rotation = Rotation::new(dim, seed);
        let width = rotation.width();
        let records =
            if is_short { Records::Int4(Int4Codes::new(width)) } else { Records::Int8(Int8Codes::new(width)) };
        Self { rotation: Arc::new(rotation), records, signs: BinaryCodes::new(width) }
    }

    /// Components of a code.
    pub fn width(&self) -> usize {
        self.rotation.width()
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.signs.size() + records!(&self.records, records => records.size())
    }

    /// The current codes, read-only.
    pub fn view(&mut self) -> Self {
        let records = match &mut self.records {
            Records::Int8(bytes) => Records::Int8(bytes.view()),
            Records::Int4(nibbles) => Records::Int4(nibbles.view()),
        };
        Self { rotation: Arc::clone(&self.rotation), records, signs: self.signs.view() }
    }

    /// Rotates a vector.
    pub fn rotate(&self, vector: &[f32], kernels: &Kernels, out: &mut Vec<f32>) {
        self.rotation.apply(vector, kernels, out);
    }

    /// Code of a vector.
    pub fn code_of(&self, vector: &[f32], kernels: &Kernels) -> Code {
        let mut rotated = Vec::with_capacity(self.width());
        self.rotate(vector, kernels, &mut rotated);
        self.encode(&rotated, kernels)
    }

    /// Code of a rotated vector. If components overflow, its scale is not finite, and it is far from all.
    pub fn encode(&self, rotated: &[f32], kernels: &Kernels) -> Code {
        let record = records!(&self.records, records => records.encode(rotated, kernels));
        Code { record, signs: self.signs.encode(rotated, kernels) }
    }

    /// Stores the code of a node, an existing one or the next.
    pub fn put(&mut self, node: u32, code: &Code) {
        records!(&mut self.records, records => records.put(node, &code.record));
        self.signs.put(node, &code.signs);
    }

    /// Bytes and scale of a node; none for shorter codes.
    pub fn bytes(&self, node: u32) -> Option<(&[u8], f32)> {
        match &self.records {
            Records::Int8(bytes) => Some(bytes.row(node)),
            Records::Int4(_) => None,
        }
    }

    /// Sets the query to a node.
    pub fn set_query_node(&self, node: u32, query: &mut Query) {
        records!(&self.records, records => records.set_query_node(node, query));
    }

    /// Sets the query to a rotated vector.
    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut Query) {
        records!(&self.records, records => records.set_query(rotated, kernels, query));
    }

    /// Sets the query to a vector, which is rotated into `rotated`.
    pub fn set_query_vector(&self, vector: &[f32], kernels: &Kernels, rotated: &mut Vec<f32>, query: &mut Query) {
        self.rotate(vector, kernels, rotated);
        self.set_query(rotated, kernels, query);
    }

    #[inline]
    pub fn distance(&self, query: &Query, node: u32, space: Space) -> f32 {
        records!(&self.records, records => records.distance(query, node, space))
    }

    /// Sets the binary query to a rotated vector.
    pub fn set_binary_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut BinaryQuery) {
        self.signs.set_query(rotated, kernels, query);
    }

    /// Approximate distances of nodes by binary code, as [`crate::neighbor::rank`].
    pub fn binary_distances(&self, query: &BinaryQuery, nodes: &[u32], space: Space) -> Vec<u32> {
        self.signs.ranks(query, nodes, space)
    }

    /// Transposes the binary codes of some nodes, to be compared with many queries.
    pub fn pack_binary(&self, nodes: &[u32]) -> PackedBinaryCodes {
        self.signs.pack(nodes)
    }

    /// As [`Self::binary_distances`], for packed nodes.
    pub fn packed_binary_distances(&self, query: &BinaryQuery, packed: &PackedBinaryCodes, space: Space) -> Vec<u32> {
        self.signs.ranks_of(query, packed, space)
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        records!(&self.records, records => records.prefetch(node));
    }

    /// Error of a distance by code, up to [`DEVIATIONS`]. The error of a code has a random direction, so its inner
    /// product with the query is about normal (Gao and Long, SIGMOD 2024, "RaBitQ", 3.2.2).
    pub fn slack(&self, query: &Query, node: u32, space: Space) -> f32 {
        let error = records!(&self.records, records => records.error(query, node));
        slack(DEVIATIONS * error / (self.width() as f32).sqrt(), space)
    }

    /// The same for a distance by binary code.
    pub fn binary_slack(&self, query: &BinaryQuery, node: u32, space: Space) -> f32 {
        slack(DEVIATIONS * self.signs.error(query, node), space)
    }

    /// Number of leading nodes that may be among the `k` nearest, given nodes sorted by distance by code.
    pub fn rerank_cutoff(&self, query: &Query, sorted: &[Neighbor], k: usize, space: Space) -> usize {
        let Some(last) = sorted.get(k - 1) else { return sorted.len() };
        let worst = add_slack(last.distance(), self.slack(query, last.id(), space));
        sorted.partition_point(|neighbor| neighbor.distance() <= worst)
    }

    /// Nearest nodes by code that contain the `k` nearest by vector, as far as further ones are worth reranking.
    pub fn shortlist(&self, k: usize) -> usize {
        let times = match &self.records {
            Records::Int8(_) => 2,
            Records::Int4(_) => 6,
        };
        k.saturating_mul(times)
    }
}

/// Factor from components to steps; 0 if the step is 0 or overflowed, so that all components become 0.
pub(crate) fn inverse(step: f32) -> f32 {
    let inverse = 1.0 / step;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Error of a distance, given the error of the inner product.
fn slack(error: f32, space: Space) -> f32 {
    if space.metric() == Metric::Euclid { 2.0 * error } else { error }
}

/// Distance from an inner product.
#[inline]
fn distance(product: f32, squares: f32, space: Space) -> f32 {
    let distance = match space.metric() {
        Metric::Cosine | Metric::Dot => 0.0 - product,
        Metric::Euclid => squares - 2.0 * product,
        Metric::Manhattan => unreachable!("no codes are made for Manhattan"),
    };
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// Number `nth` at the end of a record.
#[inline]
fn number(tail: &[u8], nth: usize) -> f32 {
    let (numbers, _) = tail.as_chunks();
    numbers.get(nth).map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}
