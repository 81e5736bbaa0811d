//! Vector data sets for demos and benchmarks: files, and word embeddings.

mod npy;
mod rows;
mod word_vectors;

pub use npy::{NpyError, parse_npy, read_npy, write_npy};
pub use rows::{Rows, RowsError, read_bin, read_neighbors, read_vecs, read_vectors};
pub use word_vectors::open_vectors;

/// Named vectors of equal dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Dimension.
    pub dim: usize,
    /// Row-major `names.len() x dim`.
    pub numbers: Vec<f32>,
    /// Name of each row.
    pub names: Vec<String>,
}

impl Vectors {
    /// Number of vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no vectors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Row `at`, `dim` numbers.
    ///
    /// # Panics
    /// When `at >= len()`.
    #[must_use]
    pub fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dim..][..self.dim]
    }
}

#[cfg(test)]
mod tests;
