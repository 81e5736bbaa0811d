//! Product quantization with codes of 4 bits (Jégou, Douze, Schmid, IEEE TPAMI 2011): a vector is split into parts, and
//! each part is replaced by the nearest of 16 trained values.

use crate::kernels::fast_scan::{LANE, PADDED};
use crate::metric::Metric;

/// Values per part.
pub(crate) const VALUES: usize = 16;

/// The values of all codes.
pub(crate) struct Codebook {
    dim: usize,
    parts: usize,
    /// Per part: `length x VALUES`, component by component.
    values: Vec<f32>,
}

/// Start of a part. The first parts are longer by one component if `dim` is not a multiple of `parts`.
fn start(dim: usize, parts: usize, part: usize) -> usize {
    let (short, longer) = (dim / parts, dim % parts);
    part * short + part.min(longer)
}

impl Codebook {
    /// A codebook of zeros. `1 <= parts <= dim`.
    pub fn new(dim: usize, parts: usize) -> Self {
        Self { dim, parts, values: vec![0.0; dim * VALUES] }
    }

    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Components of a part.
    pub fn range(&self, part: usize) -> std::ops::Range<usize> {
        start(self.dim, self.parts, part)..start(self.dim, self.parts, part + 1)
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Bytes of a block, and of a distance table.
    pub fn padded(&self) -> usize {
        self.parts.div_ceil(PADDED) * PADDED * LANE
    }

    /// Component `i` in each of the 16 values of its part.
    fn column(&self, i: usize) -> &[f32; VALUES] {
        self.values[i * VALUES..].first_chunk().expect("a column for each number")
    }

    /// The nearest code of each part.
    pub fn encode(&self, vector: &[f32], codes: &mut Vec<u8>) {
        codes.clear();
        codes.extend((0..self.parts).map(|part| least(&self.errors(part, vector))));
    }

    /// Squared error of a part, per code.
    fn errors(&self, part: usize, vector: &[f32]) -> [f32; VALUES] {
        let mut errors = [0.0; VALUES];
        for i in self.range(part) {
            for (error, value) in errors.iter_mut().zip(self.column(i)) {
                let difference = vector[i] - value;
                *error += difference * difference;
            }
        }
        errors
    }

    /// Codes for inner products (Guo et al., arXiv 1908.10396, Theorem 3.2). An error parallel to the point changes its
    /// score for the queries that matter, so it weighs `weight` times as much as an orthogonal one.
    ///
    /// `vector` is encoded, `direction` is the point normalized to length 1. Coordinate descent over the parts until no
    /// code changes, as in section 4.2 of the paper.
    pub fn encode_along(&self, vector: &[f32], direction: &[f32], weight: f32, codes: &mut Vec<u8>) {
        /// Iterations after which hardly any code changes.
        const ROUNDS: usize = 4;
        self.encode(vector, codes);
        let mut parts = Vec::with_capacity(self.parts);
        let mut along = 0.0;
        for (part, code) in codes.iter().enumerate() {
            let mut shares = [0.0; VALUES];
            for i in self.range(part) {
                for (share, value) in shares.iter_mut().zip(self.column(i)) {
                    *share += (vector[i] - value) * direction[i];
                }
            }
            along += shares[usize::from(*code)];
            parts.push((self.errors(part, vector), shares));
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for ((errors, shares), code) in parts.iter().zip(codes.iter_mut()) {
                let others = along - shares[usize::from(*code)];
                let mut losses = [0.0; VALUES];
                for ((loss, error), share) in losses.iter_mut().zip(errors).zip(shares) {
                    let along = others + share;
                    *loss = error + (weight - 1.0) * along * along;
                }
                let best = least(&losses);
                changed |= best != *code;
                *code = best;
                along = others + shares[usize::from(best)];
            }
            if !changed {
                break;
            }
        }
    }

    /// The vector that codes stand for.
    pub fn decode(&self, codes: &[u8], vector: &mut Vec<f32>) {
        vector.clear();
        for (part, code) in codes.iter().enumerate() {
            vector.extend(self.range(part).map(|i| self.column(i)[usize::from(*code)]));
        }
    }

    /// Contribution of each code to the distance of a query.
    pub fn distances(&self, query: &[f32], metric: Metric, out: &mut Vec<[f32; VALUES]>) {
        out.clear();
        for part in 0..self.parts {
            let mut sums = [0.0; VALUES];
            for i in self.range(part) {
                let (x, column) = (query[i], self.column(i));
                for (sum, value) in sums.iter_mut().zip(column) {
                    *sum += match metric {
                        Metric::Cosine | Metric::Dot => -x * value,
                        Metric::Euclid => -2.0 * x * value,
                        Metric::Manhattan => (x - value).abs(),
                    };
                }
            }
            out.push(sums);
        }
    }
}

/// Position of the smallest distance, the first of equal ones.
pub(super) fn least(distances: &[f32; VALUES]) -> u8 {
    let mut best = 0;
    for (code, distance) in distances.iter().enumerate() {
        if *distance < distances[best] {
            best = code;
        }
    }
    best as u8
}
