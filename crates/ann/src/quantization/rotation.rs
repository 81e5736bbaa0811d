//! A random rotation.

use crate::hash::splitmix64;
use crate::kernels::Kernels;

/// Rounds after which hardly any direction is special.
const ROUNDS: usize = 4;

/// Distributes a vector evenly over its components: rounds of random signs and Walsh-Hadamard transforms (Ailon and
/// Chazelle, STOC 2006), alternately of the first and of the last components if their number is no power of two.
/// Preserves inner products and lengths.
pub(crate) struct Rotation {
    dim: usize,
    width: usize,
    window: usize,
    /// Per round: a sign for each component of the window.
    signs: Vec<f32>,
}

impl Rotation {
    pub fn new(dim: usize, seed: u64) -> Self {
        let width = dim.next_multiple_of(4);
        let window = 1 << width.ilog2();
        let sign = |i: usize| if splitmix64(seed ^ splitmix64(i as u64)) & 1 == 0 { 1.0 } else { -1.0 };
        Self { dim, width, window, signs: (0..ROUNDS * window).map(sign).collect() }
    }

    /// Components of a rotated vector: `dim`, or up to 3 more.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `vector.len() == dim`.
    pub fn apply(&self, vector: &[f32], kernels: &Kernels, out: &mut Vec<f32>) {
        debug_assert_eq!(vector.len(), self.dim);
        out.clear();
        out.extend_from_slice(vector);
        out.resize(self.width, 0.0);
        for (round, signs) in self.signs.chunks_exact(self.window).enumerate() {
            let start = if round % 2 == 0 { 0 } else { self.width - self.window };
            (kernels.hadamard)(&mut out[start..start + self.window], signs);
        }
    }
}
