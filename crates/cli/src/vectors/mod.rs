//! Vectors for demos and tests: NumPy files, and real words.

mod npy;
mod rows;
mod words;

pub use npy::{NpyError, parse_npy, read_npy, write_npy};
pub use rows::{Rows, RowsError, read_bin, read_neighbours, read_vecs, read_vectors};
pub use words::open;

/// Vectors in a row, and what each is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Numbers a vector.
    pub dim: usize,
    /// Row-major, `names.len() x dim`.
    pub numbers: Vec<f32>,
    /// One a row.
    pub names: Vec<String>,
}

impl Vectors {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Row `at`.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dim..][..self.dim]
    }
}

#[cfg(test)]
mod tests;
