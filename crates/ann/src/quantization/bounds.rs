//! Proven lower bounds of distances by vector, derived from codes. In contrast, [`Codes::slack`] is probabilistic.
//!
//! Let q' and x' be the decoded query and point, and `e_q >= ‖q − q'‖`, `e_x >= ‖x − x'‖` bounds of their errors.
//!
//! ```text
//!   inner product            |⟨q, x⟩ − ⟨q', x'⟩| <= e_q ‖x‖ + ‖q'‖ e_x               (Cauchy-Schwarz)
//!   Euclid, codes of 8 bits  |‖q − x‖ − ‖q' − x'‖| <= e_q + e_x                      (triangle inequality)
//!   Euclid, codes of 4 bits  ‖q‖² + ‖x‖² − 2⟨q', x'⟩ has twice the first error       (their squares are those of the vectors)
//! ```
//!
//! Bounds include rounding errors of floats, here, in the rotation, and in the kernels whose result is bounded.
//! [`HALF_STEP`] and [`Bound::rounding`] exceed these several times, for up to 65,536 dimensions.

use crate::kernels::columns::ROWS;
use crate::metric::{Metric, Space};
use crate::neighbor::{distance, rank};

use super::batch::DistanceTerms;
use super::{Codes, Query, Records};

/// Largest error of an 8-bit component, in steps: 1/2, and rounding errors of rotation and conversion. These are below
/// `128 ε ‖x‖`; 1/100 of a step per component is together at least `0.01 ‖x‖ / 127`.
const HALF_STEP: f32 = 0.51;
/// The same where the step is subnormal: all components may have become zero.
const WHOLE_SCALE: f32 = 128.0;
/// Squared lengths and products below this are lost to underflow, at most: `2⁻¹⁵⁰` times 65,536 products of two bytes.
const UNDERFLOW: f32 = 1e-35;
/// Its square root, rounded up.
const UNDERFLOW_LENGTH: f32 = 4e-18;

/// The part of the bounds that depends on the query only.
pub(crate) struct Bound {
    rule: Rule,
    /// `e_q`.
    error: f32,
    /// Upper bound of the lengths of the query and of the decoded query.
    length: f32,
    /// Squared length of the decoded query.
    square: f32,
    /// Relative rounding error of sums of products: that of as many additions as there are components, and more.
    rounding: f32,
    /// Square root of the number of components.
    root: f32,
}

/// A row of the table above.
#[derive(Clone, Copy)]
enum Rule {
    Product,
    Roots,
    Squares,
}

/// Error of a code, and the length it applies to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CodeError {
    /// `e_x`.
    error: f32,
    /// Squared length of the vector, or, with 8 bits per component, of the decoded vector.
    square: f32,
}

impl CodeError {
    /// Error of a code whose components overflowed.
    const UNKNOWN: Self = Self { error: f32::INFINITY, square: f32::INFINITY };

    /// The larger of each: a bound for the result holds for both. NaN is larger than any number.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        let larger = |a: f32, b: f32| f32::from_bits(a.abs().to_bits().max(b.abs().to_bits()));
        Self { error: larger(self.error, other.error), square: larger(self.square, other.square) }
    }
}

impl Codes {
    /// Bounds for the query made by [`Codes::set_query`].
    pub fn bound(&self, query: &Query, space: Space) -> Bound {
        let root = (self.width() as f32).sqrt();
        let error = of_scale(query.scale) * query.scale * root + UNDERFLOW_LENGTH;
        let rounding = (4 * self.width() + 256) as f32 * f32::EPSILON;
        let rule = match (space.metric(), &self.records) {
            (Metric::Euclid, Records::Int8(_)) => Rule::Roots,
            (Metric::Euclid, Records::Int4(_)) => Rule::Squares,
            _ => Rule::Product,
        };
        let length = query.square.sqrt() + error + UNDERFLOW_LENGTH;
        Bound { rule, error, length, square: query.square, rounding, root }
    }

    /// Distances of nodes by code, as [`rank`], and an upper bound of the errors of these codes.
    pub fn distances_with_errors(
        &self,
        query: &Query,
        bound: &Bound,
        nodes: &[u32],
        space: Space,
    ) -> (Vec<u32>, CodeError) {
        let mut ranks = Vec::with_capacity(nodes.len());
        let mut worst = [CodeError::default(); ROWS];
        // In memory order: the processor prefetches by itself.
        for nodes in nodes.chunks(ROWS) {
            // Missing nodes have an empty code, without error.
            let mut parts = DistanceTerms::default();
            records!(&self.records, records => records.parts(query, nodes, space, &mut parts));
            let distances = self.distances(query, &parts, space);
            for (worst, at) in worst.iter_mut().zip(0..) {
                let error = CodeError { error: parts.errors[at], square: parts.squares[at] };
                *worst = worst.max(if distances[at] == f32::INFINITY { CodeError::UNKNOWN } else { error });
            }
            ranks.extend_from_slice(&distances.map(rank)[..nodes.len()]);
        }
        let CodeError { error, square } = worst.into_iter().fold(CodeError::default(), CodeError::max);
        let error = match &self.records {
            // Upper bound of [`of_scale`] for all scales up to this one.
            Records::Int8(_) => (HALF_STEP * error + WHOLE_SCALE * f32::MIN_POSITIVE) * bound.root + UNDERFLOW_LENGTH,
            Records::Int4(_) => bound.of_nibbles(error, square),
        };
        (ranks, CodeError { error, square })
    }

    /// Distance of a node by code, and the error of the code.
    #[inline(always)]
    pub fn distance_with_error(&self, query: &Query, bound: &Bound, node: u32, space: Space) -> (f32, CodeError) {
        match &self.records {
            Records::Int8(bytes) => {
                let (distance, scale, square) = bytes.distance_with_error(query, node, space);
                (distance, CodeError { error: of_scale(scale) * scale * bound.root + UNDERFLOW_LENGTH, square })
            }
            Records::Int4(nibbles) => {
                let (error, square) = nibbles.numbers(node);
                let error = CodeError { error: bound.of_nibbles(error, square), square };
                (nibbles.distance(query, node, space), error)
            }
        }
    }
}

impl Bound {
    /// `e_x` of a 4-bit code, from the computed length of its error.
    #[inline(always)]
    fn of_nibbles(&self, error: f32, square: f32) -> f32 {
        (error * error + self.rounding * square).sqrt() + UNDERFLOW_LENGTH
    }

    /// Lower bound of the distance by vector, given the distance by a code with at most this error. `-∞` where numbers
    /// overflow. Rounded sums, products and roots are monotonic, so a larger `error` never yields a larger bound.
    #[inline(always)]
    pub fn lower_bound(&self, distance: f32, error: CodeError) -> f32 {
        let CodeError { error, square } = error;
        let length = square.sqrt() + error + UNDERFLOW_LENGTH;
        let slack = self.error * length + self.length * error + self.rounding * (self.length * length) + UNDERFLOW;
        let rounded = self.rounding * (self.square + square) + UNDERFLOW;
        let lower_bound = match self.rule {
            Rule::Roots => {
                let root = ((distance - rounded).max(0.0).sqrt() - (self.error + error)).max(0.0);
                root * root - rounded
            }
            Rule::Squares => distance - 2.0 * slack - rounded,
            Rule::Product => distance - slack,
        };
        if lower_bound.is_nan() || distance == f32::INFINITY { f32::NEG_INFINITY } else { lower_bound }
    }

    /// Rank of the largest distance by code whose vector may be within `worst`, for codes with at most this error.
    /// `u32::MAX` where numbers overflow.
    pub fn max_rank_within(&self, worst: f32, error: CodeError) -> u32 {
        let is_within = |rank: u32| self.lower_bound(distance(rank), error) <= worst;
        if is_within(rank(f32::MAX)) {
            return u32::MAX;
        }
        // The bound increases with the distance.
        let (mut within, mut beyond) = (rank(f32::MIN), rank(f32::MAX));
        while beyond - within > 1 {
            let middle = within.midpoint(beyond);
            *if is_within(middle) { &mut within } else { &mut beyond } = middle;
        }
        within
    }
}

/// Largest error of an 8-bit component, in scales.
#[inline(always)]
fn of_scale(scale: f32) -> f32 {
    if scale >= f32::MIN_POSITIVE { HALF_STEP } else { WHOLE_SCALE }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::InstructionSet;

    /// Vectors with similar components, with one dominant component, and with very small and very large ones.
    fn vectors(dim: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let number = prop_oneof![
            8 => -1f32..1.0,
            1 => Just(0.0),
            1 => -100f32..100.0,
            1 => -1e-3f32..1e-3,
        ];
        let scale = prop_oneof![
            6 => Just(1.0f32),
            1 => prop::sample::select(vec![1e-44f32, 1e-38, 1e-30, 1e-23, 1e-19, 1e-10, 1e10, 1e18, 1e36]),
        ];
        let vector = (prop::collection::vec(number, dim), scale, 0f32..3.0)
            .prop_map(|(numbers, scale, offset)| numbers.iter().map(|x| (x + offset) * scale).collect());
        prop::collection::vec(vector, 2..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_distance_by_vectors_is_below_its_bound(
            vectors in prop::sample::select(vec![1usize, 3, 32, 33, 100, 300]).prop_flat_map(vectors),
            is_short: bool,
            metric in prop::sample::select(vec![Metric::Cosine, Metric::Dot, Metric::Euclid]),
        ) {
            let space = Space::new(metric, &InstructionSet::best().kernels().expect("supported"));
            let mut codes = Codes::new(vectors[0].len(), 5, is_short);
            for (node, vector) in (0..).zip(&vectors) {
                codes.put(node, &codes.code_of(vector, space.kernels()));
            }
            let (mut rotated, mut query) = (Vec::new(), Query::default());
            for from in &vectors {
                codes.set_query_vector(from, space.kernels(), &mut rotated, &mut query);
                let bound = codes.bound(&query, space);
                let distance_with_error = |node| codes.distance_with_error(&query, &bound, node, space);
                let worst = (0..vectors.len() as u32).map(|node| distance_with_error(node).1).fold(CodeError::default(), CodeError::max);
                for (node, to) in (0..).zip(&vectors) {
                    let (distance, error) = distance_with_error(node);
                    let (lower_bound, right) = (bound.lower_bound(distance, error), space.distance(from, to));
                    prop_assert!(lower_bound <= right, "{lower_bound:e} beside {right:e}");
                    let lower = bound.lower_bound(distance, worst);
                    prop_assert!(lower <= lower_bound, "{lower:e} with the worst beside {lower_bound:e}");
                }
            }
        }
    }

    /// A bound that excludes nothing would be proven too.
    #[test]
    fn bounds_of_alike_vectors_are_tight() {
        let mut rng = crate::testing::Rng::new(3);
        let space = Space::new(Metric::Euclid, &InstructionSet::best().kernels().expect("supported"));
        let mut codes = Codes::new(100, 5, false);
        let vectors: Vec<Vec<f32>> = (0..200).map(|_| (0..100).map(|_| rng.unit()).collect()).collect();
        for (node, vector) in (0..).zip(&vectors) {
            codes.put(node, &codes.code_of(vector, space.kernels()));
        }
        let (mut rotated, mut query) = (Vec::new(), Query::default());
        codes.set_query_vector(&vectors[0], space.kernels(), &mut rotated, &mut query);
        let bound = codes.bound(&query, space);
        let share = (1..200).map(|node| {
            let right = space.distance(&vectors[0], &vectors[node as usize]);
            let (distance, error) = codes.distance_with_error(&query, &bound, node, space);
            bound.lower_bound(distance, error) / right
        });
        let worst = share.fold(1.0, f32::min);
        assert!(worst > 0.85, "{worst}");
        assert_eq!(distance(rank(f32::NEG_INFINITY)), f32::NEG_INFINITY, "it is ordered as an integer");
    }
}
