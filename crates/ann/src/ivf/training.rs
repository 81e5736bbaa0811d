//! Training of centroids and codebook, in steps.
//!
//! All choices follow from the order of nodes and their number, so replicas that hold equal points train equal lists.

use crate::hash::splitmix64;
use crate::metric::Space;
use crate::storage::points::Points;

use super::coarse_quantizer::{CentroidDistances, CoarseQuantizer};
use super::codebook::{Codebook, VALUES, least};
use super::inverted_lists::{InvertedLists, residual};

/// Training points per list.
const SAMPLES_PER_LIST: usize = 48;
/// Training points of the codebook.
const CODEBOOK_SAMPLES: usize = 16_384;
/// Iterations of Lloyd's algorithm for the centroids.
const LIST_ITERATIONS: usize = 8;
/// Iterations for a part of the codebook.
const CODEBOOK_ITERATIONS: usize = 10;
/// Points per step: some milliseconds.
const POINTS_PER_STEP: usize = 64;

/// Whether a node is in the hold-out set, one of sixteen. A query that took part in its own centroid finds its
/// neighbors in fewer lists than a query from elsewhere.
pub(crate) fn is_holdout(node: u32) -> bool {
    splitmix64(u64::from(node)).is_multiple_of(16)
}

/// A training in progress.
pub(crate) struct Training {
    trained_for: usize,
    parts: usize,
    sample: Vec<u32>,
    phase: Phase,
    distances: CentroidDistances,
}

enum Phase {
    /// Iteration of the centroids: points done, and their sums per list.
    Cluster { round: usize, at: usize, coarse: CoarseQuantizer, sums: Vec<f32>, counts: Vec<u32> },
    /// Residuals to train the codebook from.
    Residuals { at: usize, coarse: CoarseQuantizer, rows: Vec<f32> },
    /// Parts of the codebook that are done.
    Codes { part: usize, coarse: CoarseQuantizer, rows: Vec<f32>, codebook: Codebook },
    /// Nodes before `at` are assigned to lists.
    Fill { at: u32, lists: Box<InvertedLists> },
}

impl Training {
    /// Starts a training of `lists` centroids and codes of `parts` parts. There must be at least `lists` points.
    pub fn new(points: &Points, lists: usize, parts: usize, space: Space) -> Self {
        let live: Vec<u32> = (0..points.nodes()).filter(|node| points.is_occupied(*node)).collect();
        let trainable: Vec<u32> = live.iter().copied().filter(|node| !is_holdout(*node)).collect();
        let sample = sample_evenly(if trainable.len() < lists { &live } else { &trainable }, lists * SAMPLES_PER_LIST);
        let rows =
            sample_evenly(&sample, lists).iter().flat_map(|node| points.vectors.row(*node).into_owned()).collect();
        let phase = Phase::cluster(0, CoarseQuantizer::new(points.vectors.dim(), rows, space.kernels()));
        Self { trained_for: live.len(), parts, sample, phase, distances: CentroidDistances::default() }
    }

    /// Runs one step; returns the lists after the last one.
    pub fn step(mut self: Box<Self>, points: &Points, space: Space) -> Result<InvertedLists, Box<Self>> {
        let dim = points.vectors.dim();
        self.phase = match self.phase {
            Phase::Cluster { round, at, coarse, mut sums, mut counts } => {
                let step = &self.sample[at..self.sample.len().min(at + POINTS_PER_STEP)];
                for node in step {
                    let vector = &*points.vectors.row(*node);
                    let list = coarse.nearest(vector, space.kernels(), &mut self.distances);
                    counts[list] += 1;
                    sums[list * dim..][..dim].iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
                }
                let at = at + step.len();
                if at < self.sample.len() {
                    Phase::Cluster { round, at, coarse, sums, counts }
                } else {
                    let coarse = CoarseQuantizer::new(dim, updated_centroids(&coarse, sums, &counts), space.kernels());
                    if round + 1 < LIST_ITERATIONS {
                        Phase::cluster(round + 1, coarse)
                    } else {
                        self.sample = sample_evenly(&self.sample, CODEBOOK_SAMPLES);
                        Phase::Residuals { at: 0, coarse, rows: Vec::new() }
                    }
                }
            }
            Phase::Residuals { at, coarse, mut rows } => {
                let step = &self.sample[at..self.sample.len().min(at + POINTS_PER_STEP)];
                let mut row = Vec::new();
                for node in step {
                    let vector = &*points.vectors.row(*node);
                    let list = coarse.nearest(vector, space.kernels(), &mut self.distances);
                    residual(&coarse, list, vector, space.metric(), &mut row);
                    rows.extend_from_slice(&row);
                }
                let at = at + step.len();
                if at < self.sample.len() {
                    Phase::Residuals { at, coarse, rows }
                } else {
                    Phase::Codes { part: 0, coarse, rows, codebook: Codebook::new(dim, self.parts) }
                }
            }
            Phase::Codes { part, coarse, rows, mut codebook } => {
                train_subquantizer(&mut codebook, part, &rows, dim);
                if part + 1 < self.parts {
                    Phase::Codes { part: part + 1, coarse, rows, codebook }
                } else {
                    Phase::Fill { at: 0, lists: Box::new(InvertedLists::new(self.trained_for, coarse, codebook)) }
                }
            }
            Phase::Fill { at, mut lists } => {
                let end = points.nodes().min(at + POINTS_PER_STEP as u32);
                for node in (at..end).filter(|node| points.is_occupied(*node)) {
                    let entries = lists.assign(&points.vectors.row(node), space);
                    entries.iter().for_each(|entry| {
                        lists.add(node, entry, space);
                    });
                }
                if end == points.nodes() {
                    return Ok(*lists);
                }
                Phase::Fill { at: end, lists }
            }
        };
        Err(self)
    }
}

impl Phase {
    fn cluster(round: usize, coarse: CoarseQuantizer) -> Self {
        let (sums, counts) = (vec![0.0; coarse.rows().len()], vec![0; coarse.len()]);
        Self::Cluster { round, at: 0, coarse, sums, counts }
    }
}

/// About `count` of them, evenly spread; all if there are fewer.
fn sample_evenly(all: &[u32], count: usize) -> Vec<u32> {
    if all.len() <= count {
        return all.to_vec();
    }
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

/// The new centroids. A centroid without points moves next to that with the most points, to take a share of them.
fn updated_centroids(old: &CoarseQuantizer, mut sums: Vec<f32>, counts: &[u32]) -> Vec<f32> {
    let dim = sums.len() / counts.len();
    let mut crowd = counts.to_vec();
    for (list, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        sums[list * dim..][..dim].iter_mut().for_each(|x| *x /= *count as f32);
    }
    for list in (0..counts.len()).filter(|list| counts[*list] == 0) {
        let fullest = (0..crowd.len()).max_by_key(|other| (crowd[*other], std::cmp::Reverse(*other)));
        let fullest = fullest.expect("there are lists");
        crowd[fullest] /= 2;
        for i in 0..dim {
            // Towards the previous position of that centroid: a direction given by the points themselves.
            let (new, before) = (sums[fullest * dim + i], old.row(fullest)[i]);
            sums[list * dim + i] = new + (before - new) * 0.5 + new * 1e-3;
        }
    }
    sums
}

/// Lloyd's algorithm on one part of the rows.
fn train_subquantizer(codebook: &mut Codebook, part: usize, rows: &[f32], dim: usize) {
    let range = codebook.range(part);
    let length = range.len();
    let count = rows.len() / dim;
    let part_of = |row: usize| &rows[row * dim + range.start..row * dim + range.end];
    // Component by component, as in the codebook.
    let mut values = vec![0.0; length * VALUES];
    for code in 0..VALUES {
        let row = part_of(code * count / VALUES);
        (0..length).for_each(|i| values[i * VALUES + code] = row[i]);
    }
    for _ in 0..CODEBOOK_ITERATIONS {
        let mut sums = vec![0.0; length * VALUES];
        let mut counts = [0_u32; VALUES];
        for row in 0..count {
            let vector = part_of(row);
            let mut distances = [0.0; VALUES];
            for (x, column) in vector.iter().zip(values.chunks_exact(VALUES)) {
                for (distance, value) in distances.iter_mut().zip(column) {
                    *distance += (x - value) * (x - value);
                }
            }
            let code = usize::from(least(&distances));
            counts[code] += 1;
            (0..length).for_each(|i| sums[i * VALUES + code] += vector[i]);
        }
        for code in (0..VALUES).filter(|code| counts[*code] > 0) {
            (0..length).for_each(|i| values[i * VALUES + code] = sums[i * VALUES + code] / counts[code] as f32);
        }
    }
    codebook.values_mut()[range.start * VALUES..range.end * VALUES].copy_from_slice(&values);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
    use crate::storage::datatype::Datatype;
    use crate::storage::vector_store::VectorStorage;
    use crate::testing::clustered;

    #[test]
    fn training_excludes_the_holdout_set() {
        let mut points = Points::new(4, Datatype::Float32, VectorStorage::Memory);
        for (slot, vector) in (0..).zip(clustered(1, 1_600, 4, 8)) {
            points.insert(slot, &vector);
        }
        let sample = |lists| Training::new(&points, lists, 2, Space::best(Metric::Euclid)).sample;
        let held_out = (0..1_600).filter(|node| is_holdout(*node)).count();
        assert!((60..140).contains(&held_out), "{held_out} of 1,600");
        assert_eq!(sample(100).len(), 1_600 - held_out);
        assert!(sample(100).iter().all(|node| !is_holdout(*node)));
        assert!(sample(10).len() == 480 && sample(10).iter().all(|node| !is_holdout(*node)));
        assert_eq!(sample(1_599).len(), 1_600, "where there are hardly more points than lists, all are needed");
    }
}
