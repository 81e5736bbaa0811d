//! Codes of 4 bits per component.
//!
//! A record consists of pieces of 16 bytes. Each piece holds 32 components: byte `j` has component `j` in its low half
//! and component `j + 16` in its high half. The last piece holds the scale, the squared length and the length of the
//! error. A half byte `n` stands for `scale (n - 7.5)`.

use crate::kernels::lanes::nearest;
use crate::kernels::{Kernels, prefetch};
use crate::memory::{Line, Rows, bytes_of, bytes_of_mut};
use crate::metric::Space;

use super::batch::DistanceTerms;
use super::{Query, distance, inverse, number};

/// Bytes of a piece.
const PIECE: usize = 16;
/// Components of a piece.
const NUMBERS: usize = 2 * PIECE;
/// Step of the optimal uniform quantizer with 16 levels for normal numbers, in standard deviations (Max, IRE
/// Transactions IT-6, 1960, table II).
const STEP: f32 = 0.3352;
/// Offset of a sum of products per unit of the query, doubled to be whole.
const OFFSET: i32 = 15;
/// Largest component of a query.
const LARGEST: f32 = 127.0;

pub(super) struct Int4Codes {
    width: usize,
    rows: Rows<[u8; PIECE]>,
}

impl Int4Codes {
    pub fn new(width: usize) -> Self {
        Self { width, rows: Rows::new(width.div_ceil(NUMBERS) + 1) }
    }

    pub fn size(&self) -> usize {
        self.rows.bytes()
    }

    pub fn view(&mut self) -> Self {
        Self { width: self.width, rows: self.rows.view() }
    }

    /// Bytes of a code.
    fn code_bytes(&self) -> usize {
        (self.rows.width() - 1) * PIECE
    }

    pub fn encode(&self, rotated: &[f32], kernels: &Kernels) -> Vec<u8> {
        let square = (kernels.dot)(rotated, rotated);
        let step = STEP * (square / self.width as f32).sqrt();
        let inverse = inverse(step);
        let mut record = vec![0; self.rows.width() * PIECE];
        let (mut along, mut squares) = (0.0, 0.0);
        for (numbers, piece) in rotated.chunks(NUMBERS).zip(record.chunks_exact_mut(PIECE)) {
            for (at, x) in numbers.iter().enumerate() {
                // The cast truncates components beyond the last level; NaN becomes zero.
                let half = (x * inverse + 8.0).clamp(0.0, 15.0) as u8;
                let says = f32::from(half) - 7.5;
                along += says * x;
                squares += says * says;
                piece[at % PIECE] |= half << (4 * (at / PIECE));
            }
        }
        // The scale makes the inner product of code and vector exact, so that other inner products are unbiased.
        let scale = Some(square / along).filter(|scale| along > 0.0 || !scale.is_nan()).unwrap_or(0.0);
        let error = (scale * scale * squares - square).max(0.0).sqrt();
        let at = self.code_bytes();
        for (place, number) in record[at..].chunks_exact_mut(4).zip([scale, square, error]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        record
    }

    pub fn put(&mut self, node: u32, record: &[u8]) {
        self.rows.row_or_next(node).as_flattened_mut().copy_from_slice(record);
    }

    pub fn set_query_node(&self, node: u32, query: &mut Query) {
        let (code, tail) = self.record(node);
        let (pieces, _) = code.as_chunks::<PIECE>();
        let twice = |half: u8| 2 * half.cast_signed() - 15;
        self.fill(query, |at| (pieces[at].map(|byte| twice(byte & 15)), pieces[at].map(|byte| twice(byte >> 4))));
        (query.scale, query.square) = (number(tail, 0) / 2.0, number(tail, 1));
    }

    pub fn set_query(&self, rotated: &[f32], kernels: &Kernels, query: &mut Query) {
        let scale = (kernels.largest)(rotated) / LARGEST;
        let inverse = inverse(scale);
        let whole = |x: f32| nearest(x * inverse) as i8;
        self.fill(query, |at| {
            let mut numbers = [[0.0; PIECE]; 2];
            let some = &rotated[at * NUMBERS..self.width.min((at + 1) * NUMBERS)];
            numbers.as_flattened_mut()[..some.len()].copy_from_slice(some);
            (numbers[0].map(whole), numbers[1].map(whole))
        });
        (query.scale, query.square) = (scale, (kernels.dot)(rotated, rotated));
    }

    /// Cache lines of either half of a query.
    fn half(&self) -> usize {
        self.code_bytes().div_ceil(Line::BYTES)
    }

    /// Arranges components in the order of codes, piece by piece: first those multiplied with low halves, then those
    /// with high halves; zero where there is no component.
    fn fill(&self, query: &mut Query, piece: impl Fn(usize) -> ([i8; PIECE], [i8; PIECE])) {
        let half = self.half();
        query.lines.clear();
        query.lines.resize(2 * half, Line::ZERO);
        let (low, high) = query.lines.split_at_mut(half);
        let (low, _) = bytes_of_mut(low).as_chunks_mut();
        let (high, _) = bytes_of_mut(high).as_chunks_mut();
        let mut sum = 0;
        for (at, (low, high)) in low.iter_mut().zip(high).take(self.rows.width() - 1).enumerate() {
            let mut numbers: [[i8; PIECE]; 2] = piece(at).into();
            let there = (self.width - at * NUMBERS).min(NUMBERS);
            numbers.as_flattened_mut()[there..].fill(0);
            sum += numbers.as_flattened().iter().map(|x| i32::from(*x)).sum::<i32>();
            *low = numbers[0].map(i8::cast_unsigned);
            *high = numbers[1].map(i8::cast_unsigned);
        }
        query.offset = OFFSET * sum;
    }

    #[inline]
    fn record(&self, node: u32) -> (&[u8], &[u8]) {
        self.rows.row(node).as_flattened().split_at(self.code_bytes())
    }

    #[inline]
    pub fn distance(&self, query: &Query, node: u32, space: Space) -> f32 {
        let (code, tail) = self.record(node);
        let sum = (space.kernels().int4_dot)(code, bytes_of(&query.lines));
        distance(self.product(query, number(tail, 0), sum), query.square + number(tail, 1), space)
    }

    /// Inner product from the sum of products of half bytes.
    #[inline]
    pub fn product(&self, query: &Query, scale: f32, sum: i32) -> f32 {
        query.scale * scale * (0.5 * (2 * sum - query.offset) as f32)
    }

    /// Bytes written by [`Self::unpack`].
    pub fn unpacked_len(&self) -> usize {
        2 * self.half() * Line::BYTES
    }

    /// Writes the half bytes of a node in the order of a query, and returns their scale and squared length.
    pub fn unpack(&self, node: u32, out: &mut [u8]) -> (f32, f32) {
        let (code, tail) = self.record(node);
        let (low, high) = out.split_at_mut(self.half() * Line::BYTES);
        for ((byte, low), high) in code.iter().zip(low).zip(high) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
        (number(tail, 0), number(tail, 1))
    }

    #[inline]
    pub fn prefetch(&self, node: u32) {
        prefetch(self.rows.row(node));
    }

    /// Computes the distance terms of at most [`crate::kernels::columns::ROWS`] nodes.
    #[inline(always)]
    pub fn parts(&self, query: &Query, nodes: &[u32], space: Space, parts: &mut DistanceTerms) {
        for (at, node) in nodes.iter().enumerate() {
            let (code, tail) = self.record(*node);
            parts.sums[at] = (space.kernels().int4_dot)(code, bytes_of(&query.lines));
            (parts.scales[at], parts.squares[at], parts.errors[at]) =
                (number(tail, 0), number(tail, 1), number(tail, 2));
        }
    }

    /// Length of the error and squared length of the vector of a node.
    #[inline]
    pub fn numbers(&self, node: u32) -> (f32, f32) {
        let tail = self.record(node).1;
        (number(tail, 2), number(tail, 1))
    }

    /// Standard deviation of the inner product with the query, times the square root of the width.
    pub fn error(&self, query: &Query, node: u32) -> f32 {
        query.square.sqrt() * number(self.record(node).1, 2)
    }
}
