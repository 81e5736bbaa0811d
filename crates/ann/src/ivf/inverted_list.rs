//! One inverted list: nodes and their codes, in blocks of 32.

use crate::kernels::fast_scan::{BLOCK_POINTS, LANE};
use crate::selection::smallest;

#[derive(Default, Clone)]
pub(crate) struct InvertedList {
    nodes: Vec<u32>,
    /// Blocks in the layout of [`crate::kernels::fast_scan`].
    codes: Vec<u8>,
    /// Per point: part of its distance that does not depend on the query. Empty where it is zero.
    bias: Vec<f32>,
}

impl InvertedList {
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * 4 + self.codes.capacity() + self.bias.capacity() * 4
    }

    /// Blocks of `padded` bytes.
    pub fn blocks(&self, padded: usize) -> impl Iterator<Item = &[u8]> {
        self.codes.chunks_exact(padded)
    }

    pub fn bias(&self, at: usize) -> Option<f32> {
        self.bias.get(at).copied()
    }

    /// Biases of a block.
    pub fn biases(&self, block: usize) -> &[f32] {
        if self.bias.is_empty() {
            return &[];
        }
        &self.bias[block * BLOCK_POINTS..self.len().min((block + 1) * BLOCK_POINTS)]
    }

    /// Smallest bias of a block.
    pub fn min_bias(&self, block: usize) -> f32 {
        if self.bias.is_empty() { 0.0 } else { smallest(self.biases(block)) }
    }

    /// Appends a point and returns its position. A list has a bias for every point or for none.
    pub fn push(&mut self, node: u32, codes: &[u8], bias: Option<f32>, padded: usize) -> usize {
        let at = self.len();
        if at.is_multiple_of(BLOCK_POINTS) {
            self.codes.resize(self.codes.len() + padded, 0);
        }
        self.nodes.push(node);
        self.bias.extend(bias);
        for (part, code) in codes.iter().enumerate() {
            self.set_code(at, part, *code, padded);
        }
        at
    }

    /// Removes the point at a position. The last point moves there and is returned.
    pub fn swap_remove(&mut self, at: usize, parts: usize, padded: usize) -> Option<u32> {
        let last = self.len() - 1;
        for part in 0..parts {
            let code = self.code(last, part, padded);
            self.set_code(at, part, code, padded);
            self.set_code(last, part, 0, padded);
        }
        self.nodes.swap_remove(at);
        if !self.bias.is_empty() {
            self.bias.swap_remove(at);
        }
        self.codes.truncate(self.len().div_ceil(BLOCK_POINTS) * padded);
        self.nodes.get(at).copied()
    }

    fn place(at: usize, part: usize, padded: usize) -> (usize, u32) {
        let within = at % BLOCK_POINTS;
        (at / BLOCK_POINTS * padded + part * LANE + within % LANE, 4 * (within / LANE) as u32)
    }

    pub fn code(&self, at: usize, part: usize, padded: usize) -> u8 {
        let (byte, shift) = Self::place(at, part, padded);
        self.codes[byte] >> shift & 15
    }

    fn set_code(&mut self, at: usize, part: usize, code: u8, padded: usize) {
        let (byte, shift) = Self::place(at, part, padded);
        self.codes[byte] = self.codes[byte] & !(15 << shift) | code << shift;
    }
}
