//! Vectors as bytes: a number of 8 bits for each of the numbers that a random rotation made alike.
//!
//! A code stands for `scale * byte`, byte by byte; so inner products are sums of whole numbers, equal on every instruction set,
//! and a graph may be built by them. Nothing is learnt, so the first vector is encoded as the last one will be.
//!
//! A record fills whole lines: the bytes, each with 128 added, zeros, and at its end the scale and the squared length.

mod rotation;
#[cfg(test)]
mod tests;

use crate::config::Metric;
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows, bytes_of, bytes_of_mut};
use crate::space::Space;

use rotation::Rotation;

/// What is added to a signed byte to store it.
const BIAS: u8 = 128;
/// The largest number of a code.
const LARGEST: f32 = 127.0;
/// Lines of a record up to which half of them would say too little.
const FEWEST_LINES: usize = 4;
/// Bytes behind a code.
const TAIL: usize = 8;

/// Codes by node.
pub(crate) struct Codes {
    rotation: Rotation,
    rows: Rows<Line>,
}

/// A record that is not in its row yet.
pub(crate) struct Code(Vec<Line>);

/// A code as it is compared with others.
#[derive(Default)]
pub(crate) struct Query {
    /// Signed bytes, zeros behind them.
    lines: Vec<Line>,
    scale: f32,
    square: f32,
    /// What the bias of a stored code adds to every sum.
    offset: i32,
    /// The same of a sketch.
    sketch_offset: i32,
}

impl Codes {
    pub fn new(dim: usize, seed: u64) -> Self {
        let rotation = Rotation::new(dim, seed);
        let lines = (rotation.width() + TAIL).div_ceil(Line::BYTES);
        Self { rotation, rows: Rows::new(lines) }
    }

    /// Numbers of a code.
    pub fn width(&self) -> usize {
        self.rotation.width()
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes()
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
        let scale = (kernels.largest)(rotated) / LARGEST;
        let inverse = Some(1.0 / scale).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
        let mut lines = vec![Line::ZERO; self.rows.width()];
        let record = bytes_of_mut(&mut lines);
        let squares = (kernels.to_bytes)(rotated, inverse, &mut record[..rotated.len()]);
        let square = scale * scale * squares as f32;
        let (_, tail) = record.split_at_mut(record.len() - TAIL);
        tail[..4].copy_from_slice(&scale.to_le_bytes());
        tail[4..].copy_from_slice(&square.to_le_bytes());
        Code(lines)
    }

    /// Puts a code in a node's row; the node is one of those there are, or the next.
    pub fn put(&mut self, node: u32, code: &Code) {
        if node as usize == self.rows.len() {
            self.rows.push(&code.0);
        } else {
            self.rows.row_mut(node).copy_from_slice(&code.0);
        }
    }

    /// The bytes of a node, and their scale.
    pub fn row(&self, node: u32) -> (&[u8], f32) {
        let record = self.rows.row(node);
        (&bytes_of(record)[..self.width()], tail(record).0)
    }

    /// Makes the query that a node is.
    pub fn aim_at(&self, node: u32, query: &mut Query) {
        self.aim_at_record(self.rows.row(node), query);
    }

    /// Makes the query that a code is.
    pub fn aim(&self, Code(record): &Code, query: &mut Query) {
        self.aim_at_record(record, query);
    }

    fn aim_at_record(&self, record: &[Line], query: &mut Query) {
        query.lines.clear();
        query.lines.extend_from_slice(record);
        (query.scale, query.square) = tail(record);
        let (bytes, behind) = bytes_of_mut(&mut query.lines).split_at_mut(self.width());
        bytes.iter_mut().for_each(|byte| *byte ^= BIAS);
        behind.fill(0);
        let offset = |bytes: &[u8]| i32::from(BIAS) * bytes.iter().map(|x| i32::from(x.cast_signed())).sum::<i32>();
        query.offset = offset(bytes);
        query.sketch_offset = offset(&bytes[..self.sketch_lines() * Line::BYTES]);
    }

    #[inline]
    pub fn distance(&self, query: &Query, node: u32, space: Space) -> f32 {
        let record = self.rows.row(node);
        let sum = (space.kernels().byte_dot)(record, &query.lines) - query.offset;
        compared(query, record, sum as f32, space)
    }

    /// The distance as the first half of the lines tells it: turned vectors are alike in all their parts.
    #[inline]
    pub fn sketched(&self, query: &Query, node: u32, space: Space) -> f32 {
        let (record, lines) = (self.rows.row(node), self.sketch_lines());
        let sum = (space.kernels().byte_dot)(&record[..lines], &query.lines[..lines]) - query.sketch_offset;
        let share = self.width() as f32 / (lines * Line::BYTES) as f32;
        compared(query, record, share * sum as f32, space)
    }

    /// Lines of a sketch; 0 where a record has too few to leave some out.
    pub fn sketch_lines(&self) -> usize {
        if self.rows.width() > FEWEST_LINES { self.rows.width() / 2 } else { 0 }
    }

    /// Asks for what [`Self::sketched`] reads.
    #[inline]
    pub fn prefetch_sketch(&self, node: u32) {
        let record = self.rows.row(node);
        prefetch(&record[..self.sketch_lines()]);
        prefetch(&record[record.len() - 1..]);
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        prefetch(self.rows.row(node));
    }
}

/// The distance by the sum of products of a query and a record.
#[inline]
fn compared(query: &Query, record: &[Line], sum: f32, space: Space) -> f32 {
    let (scale, square) = tail(record);
    let product = query.scale * scale * sum;
    let distance = match space.metric() {
        Metric::Cosine | Metric::Dot => 0.0 - product,
        Metric::Euclid => query.square + square - 2.0 * product,
        Metric::Manhattan => unreachable!("no codes are made for Manhattan"),
    };
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// Scale and squared length.
#[inline]
fn tail(record: &[Line]) -> (f32, f32) {
    let Some(Line(last)) = record.last() else { return (0.0, 0.0) };
    let number = |at: usize| f32::from_le_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    (number(Line::BYTES - TAIL), number(Line::BYTES - TAIL + 4))
}
