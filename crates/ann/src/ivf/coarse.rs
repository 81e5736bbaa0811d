//! The centroids of the lists.

use crate::kernels::Kernels;
use crate::kernels::columns::ROWS;

/// Centroids, kept by row and by column.
pub(crate) struct Coarse {
    dim: usize,
    /// `lists x dim`.
    rows: Vec<f32>,
    /// The same as [`crate::kernels::columns`] wants them; the last group is filled up with zeros.
    columns: Vec<f32>,
    /// By list: squared length.
    squares: Vec<f32>,
}

impl Coarse {
    /// `rows.len()` is a multiple of `dim`.
    pub fn new(dim: usize, rows: Vec<f32>, kernels: &Kernels) -> Self {
        let lists = rows.len() / dim;
        let mut columns = vec![0.0; lists.div_ceil(ROWS) * ROWS * dim];
        for (list, row) in rows.chunks_exact(dim).enumerate() {
            for (i, x) in row.iter().enumerate() {
                columns[(list / ROWS * dim + i) * ROWS + list % ROWS] = *x;
            }
        }
        let squares = rows.chunks_exact(dim).map(|row| (kernels.dot)(row, row)).collect();
        Self { dim, rows, columns, squares }
    }

    pub fn len(&self) -> usize {
        self.squares.len()
    }

    pub fn row(&self, list: usize) -> &[f32] {
        &self.rows[list * self.dim..][..self.dim]
    }

    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Squared length of a centroid.
    pub fn square(&self, list: usize) -> f32 {
        self.squares[list]
    }

    pub fn bytes(&self) -> usize {
        (self.rows.capacity() + self.columns.capacity() + self.squares.capacity()) * size_of::<f32>()
    }

    /// Inner products with all centroids, and some zeros behind them.
    pub fn products(&self, vector: &[f32], kernels: &Kernels, out: &mut Vec<f32>) {
        out.resize(self.len().div_ceil(ROWS) * ROWS, 0.0);
        (kernels.columns)(vector, &self.columns, out);
    }

    /// The list whose centroid is nearest by Euclid, ties by number. `products` is room to work in.
    pub fn nearest(&self, vector: &[f32], kernels: &Kernels, products: &mut Vec<f32>) -> usize {
        self.products(vector, kernels, products);
        let distance = |list: usize| self.squares[list] - 2.0 * products[list];
        let mut best = (0, distance(0));
        for list in 1..self.len() {
            let distance = distance(list);
            if distance < best.1 {
                best = (list, distance);
            }
        }
        best.0
    }
}
