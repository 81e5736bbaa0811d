//! Codes of 8 bits per component.
//!
//! A record fills whole cache lines: bytes, each with 128 added, zeros, and at its end the scale and the squared
//! length.

use crate::kernels::columns::ROWS;
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows, bytes_of, bytes_of_mut};
use crate::metric::Space;

use super::batch::DistanceTerms;
use super::{Query, distance, inverse, number};

/// Added to a signed byte to store it.
const BIAS: u8 = 128;
/// Largest component of a code.
const LARGEST: f32 = 127.0;
/// Bytes after a code.
const TAIL: usize = 8;

pub(super) struct Int8Codes {
    width: usize,
    rows: Rows<Line>,
}

impl Int8Codes {
    pub fn new(width: usize) -> Self {
        Self { width, rows: Rows::new((width + TAIL).div_ceil(Line::BYTES)) }
    }

    pub fn size(&self) -> usize {
        self.rows.bytes()
    }

    pub fn view(&mut self) -> Self {
        Self { width: self.width, rows: self.rows.view() }
    }

    pub fn encode(&self, rotated: &[f32], kernels: &Kernels) -> Vec<u8> {
        let mut record = vec![0; self.rows.width() * Line::BYTES];
        let (scale, square) = convert(rotated, kernels, &mut record);
        let at = record.len() - TAIL;
        record[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        record[at + 4..].copy_from_slice(&square.to_le_bytes());
        record
    }

    pub fn put(&mut self, node: u32, record: &[u8]) {
        bytes_of_mut(self.rows.row_or_next(node)).copy_from_slice(record);
    }

    /// Bytes and scale of a node.
    pub fn row(&self, node: u32) -> (&[u8], f32) {
        let record = self.rows.row(node);
        (&bytes_of(record)[..self.width], tail(record).0)
    }

    pub fn set_query_node(&self, node: u32, query: &mut Query) {
        let record = self.rows.row(node);
        query.lines.clear();
        query.lines.extend_from_slice(record);
        (query.scale, query.square) = tail(record);
        self.to_signed(query);
    }

    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut Query) {
        query.lines.resize(self.rows.width(), Line::ZERO);
        (query.scale, query.square) = convert(rotated, kernels, bytes_of_mut(&mut query.lines));
        self.to_signed(query);
    }

    /// Converts stored bytes to signed ones, with zeros after them.
    fn to_signed(&self, query: &mut Query) {
        let (bytes, behind) = bytes_of_mut(&mut query.lines).split_at_mut(self.width);
        query.offset = to_signed(bytes);
        behind.fill(0);
    }

    #[inline]
    pub fn distance(&self, query: &Query, node: u32, space: Space) -> f32 {
        let record = self.rows.row(node);
        let sum = (space.kernels().int8_dot)(record, &query.lines);
        let (scale, square) = tail(record);
        distance(self.product(query, scale, sum), query.square + square, space)
    }

    /// Inner product from the sum of products of bytes.
    #[inline]
    pub fn product(&self, query: &Query, scale: f32, sum: i32) -> f32 {
        query.scale * scale * (sum - query.offset) as f32
    }

    /// Bytes written by [`Self::unpack`].
    pub fn unpacked_len(&self) -> usize {
        self.width
    }

    /// Writes the bytes of a node in the order of a query, and returns their scale and squared length.
    pub fn unpack(&self, node: u32, out: &mut [u8]) -> (f32, f32) {
        let record = self.rows.row(node);
        out[..self.width].copy_from_slice(&bytes_of(record)[..self.width]);
        tail(record)
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        prefetch(self.rows.row(node));
    }

    /// Computes the distance terms of at most [`ROWS`] nodes.
    #[inline(always)]
    pub fn parts(&self, query: &Query, nodes: &[u32], space: Space, parts: &mut DistanceTerms) {
        // The first node replaces missing ones.
        let mut records = [self.rows.row(nodes[0]); ROWS];
        let is_run = (nodes[0]..).zip(nodes).fold(true, |is_run, (next, node)| is_run & (next == *node));
        if let Some(run) = is_run.then(|| self.rows.run(nodes[0], nodes.len())).flatten() {
            records.iter_mut().zip(run.chunks_exact(self.rows.width())).for_each(|(record, row)| *record = row);
        } else {
            records.iter_mut().zip(nodes).for_each(|(record, node)| *record = self.rows.row(*node));
        }
        parts.sums = (space.kernels().int8_dots)(&records, &query.lines);
        for (at, record) in records[..nodes.len()].iter().enumerate() {
            (parts.scales[at], parts.squares[at]) = tail(record);
        }
        parts.errors = parts.scales;
    }

    /// Distance, scale and squared length of a node, from one read of its record.
    #[inline(always)]
    pub fn distance_with_error(&self, query: &Query, node: u32, space: Space) -> (f32, f32, f32) {
        let record = self.rows.row(node);
        let sum = (space.kernels().int8_dot)(record, &query.lines);
        let (scale, square) = tail(record);
        (distance(self.product(query, scale, sum), query.square + square, space), scale, square)
    }

    /// Standard deviation of the inner product of both codes, times the square root of their width: component errors
    /// are uniform within half a step.
    pub fn error(&self, query: &Query, node: u32) -> f32 {
        let (scale, square) = tail(self.rows.row(node));
        let variance = query.square * scale * scale + square * query.scale * query.scale;
        (variance * self.width as f32 / 12.0).sqrt()
    }
}

/// Writes the bytes of a vector, and returns their scale and squared length.
pub(crate) fn convert(numbers: &[f32], kernels: &Kernels, bytes: &mut [u8]) -> (f32, f32) {
    let scale = (kernels.largest)(numbers) / LARGEST;
    let inverse = inverse(scale);
    let squares = (kernels.to_bytes)(numbers, inverse, &mut bytes[..numbers.len()]);
    (scale, scale * scale * squares as f32)
}

/// Converts stored bytes to signed ones, and returns the offset of their products with stored bytes.
pub(crate) fn to_signed(bytes: &mut [u8]) -> i32 {
    bytes.iter_mut().for_each(|byte| *byte ^= BIAS);
    i32::from(BIAS) * bytes.iter().map(|x| i32::from(x.cast_signed())).sum::<i32>()
}

/// Scale and squared length at the end of a record.
#[inline]
fn tail(record: &[Line]) -> (f32, f32) {
    let Some(Line(last)) = record.last() else { return (0.0, 0.0) };
    let tail = &last[Line::BYTES - TAIL..];
    (number(tail, 0), number(tail, 1))
}
