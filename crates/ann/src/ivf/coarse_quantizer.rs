//! The coarse quantizer: centroids of the lists, and assignment of vectors to lists.

use crate::kernels::Kernels;
use crate::kernels::columns::{QUAD, ROWS};
use crate::memory::Line;
use crate::quantization::{convert, to_signed};
use crate::selection::smallest;

/// Centroids in full and as bytes. A query compares all of them as bytes, and few in full.
pub(crate) struct CoarseQuantizer {
    dim: usize,
    /// `lists x dim`.
    rows: Vec<f32>,
    /// Mean of the centroids, subtracted before they become bytes.
    center: Vec<f32>,
    /// Bytes in the layout of [`crate::kernels::columns`]; the last group is padded.
    columns: Vec<Line>,
    /// Per list: the quantization step of its bytes.
    steps: Vec<f32>,
    /// Per list: squared distance from the center.
    squares: Vec<f32>,
}

/// Distances of centroids from a vector, with reusable memory.
#[derive(Default)]
pub(crate) struct CentroidDistances {
    /// Per list, up to a constant that all lists share.
    pub by_list: Vec<f32>,
    shifted: Vec<f32>,
    bytes: Vec<u8>,
    sums: Vec<i32>,
}

impl CoarseQuantizer {
    /// `rows.len()` is a multiple of `dim`.
    pub fn new(dim: usize, rows: Vec<f32>, kernels: &Kernels) -> Self {
        let (lists, quads) = (rows.len() / dim, dim.div_ceil(QUAD));
        let mut center = vec![0.0; dim];
        for row in rows.chunks_exact(dim) {
            center.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / lists as f32);
        }
        let mut columns = vec![Line::ZERO; lists.div_ceil(ROWS) * quads];
        let (mut steps, mut squares) = (Vec::with_capacity(lists), Vec::with_capacity(lists));
        let mut bytes = vec![0; quads * QUAD];
        for (list, row) in rows.chunks_exact(dim).enumerate() {
            let shifted: Vec<f32> = row.iter().zip(&center).map(|(x, center)| x - center).collect();
            let (step, _) = convert(&shifted, kernels, &mut bytes);
            let group = &mut columns[list / ROWS * quads..][..quads];
            for (line, quad) in group.iter_mut().zip(bytes.as_chunks::<QUAD>().0) {
                line.0[list % ROWS * QUAD..][..QUAD].copy_from_slice(quad);
            }
            steps.push(step);
            squares.push((kernels.dot)(&shifted, &shifted));
        }
        Self { dim, rows, center, columns, steps, squares }
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

    pub fn bytes(&self) -> usize {
        let numbers = self.rows.capacity() + self.center.capacity() + self.steps.capacity() + self.squares.capacity();
        numbers * size_of::<f32>() + self.columns.capacity() * Line::BYTES
    }

    /// Approximate squared Euclidean distances of all centroids. Quantization errors are some thousandths of the
    /// product of both distances from the center.
    pub fn squared_distances(&self, vector: &[f32], kernels: &Kernels, out: &mut CentroidDistances) {
        out.shifted.clear();
        out.shifted.extend(vector.iter().zip(&self.center).map(|(x, center)| x - center));
        self.products(kernels, out);
        out.by_list.iter_mut().zip(&self.squares).for_each(|(product, square)| *product = square - 2.0 * *product);
    }

    /// Approximate negated inner products with all centroids.
    pub fn negated_products(&self, vector: &[f32], kernels: &Kernels, out: &mut CentroidDistances) {
        out.shifted.clear();
        out.shifted.extend_from_slice(vector);
        self.products(kernels, out);
        out.by_list.iter_mut().for_each(|product| *product = -*product);
    }

    /// Inner products of `shifted` with all centroids minus the center.
    fn products(&self, kernels: &Kernels, out: &mut CentroidDistances) {
        out.bytes.resize(self.dim.next_multiple_of(QUAD), 0);
        let (step, _) = convert(&out.shifted, kernels, &mut out.bytes);
        let offset = to_signed(&mut out.bytes[..self.dim]);
        out.sums.resize(self.len().div_ceil(ROWS) * ROWS, 0);
        (kernels.columns)(out.bytes.as_chunks().0, &self.columns, &mut out.sums);
        out.by_list.clear();
        out.by_list
            .extend(self.steps.iter().zip(&out.sums).map(|(of_list, sum)| of_list * step * (sum - offset) as f32));
    }

    /// The list with the nearest centroid by Euclidean distance, ties by number. Fills `distances` for the vector.
    pub fn nearest(&self, vector: &[f32], kernels: &Kernels, distances: &mut CentroidDistances) -> usize {
        self.squared_distances(vector, kernels, distances);
        least(&distances.by_list)
    }

    /// A second list for a vector on list `first`, by the distances from [`Self::nearest`]. Its centroid is near, and
    /// its residual is nearly orthogonal to that of the first, so that queries which miss the vector on the first list
    /// find it there (Sun et al., NeurIPS 2023, "SOAR", equation 6 with a weight of 1). None for a vector that equals
    /// its centroid. Consumes the distances.
    pub fn second(
        &self,
        vector: &[f32],
        first: usize,
        kernels: &Kernels,
        distances: &mut CentroidDistances,
    ) -> Option<usize> {
        let away: Vec<f32> = vector.iter().zip(self.row(first)).map(|(x, centroid)| x - centroid).collect();
        let square = (kernels.dot)(&away, &away);
        if square <= 0.0 || !square.is_finite() {
            return None;
        }
        // Relative to the center, as the products are.
        let here = (kernels.dot)(&away, &distances.shifted);
        let neighbor = std::mem::take(&mut distances.by_list);
        distances.shifted = away;
        self.products(kernels, distances);
        for (product, distance) in distances.by_list.iter_mut().zip(&neighbor) {
            let along = here - *product;
            *product = distance + along * along / square;
        }
        distances.by_list[first] = f32::INFINITY;
        let second = least(&distances.by_list);
        distances.by_list[second].is_finite().then_some(second)
    }
}

/// Position of the smallest distance, the first of equal ones; 0 if all are infinite or NaN.
fn least(distances: &[f32]) -> usize {
    let least = smallest(distances);
    distances.iter().position(|x| *x == least).unwrap_or(0)
}
