//! Learning centroids and codebook from the points, a piece at a time.
//!
//! Every choice follows from the points in the order of their nodes and from how many there are, so replicas that hold equal
//! points learn the same.

use crate::mix::mix;
use crate::points::Points;
use crate::space::Space;

use super::coarse::{Coarse, Distances};
use super::codebook::{Codebook, VALUES, least};
use super::lists::{Lists, residual};

/// Points looked at for each list.
const SAMPLES_A_LIST: usize = 48;
/// Points that a codebook is learnt from.
const SAMPLES_OF_CODES: usize = 16_384;
/// Rounds of Lloyd's algorithm for the lists.
const ROUNDS: usize = 8;
/// Rounds for a part of the codebook.
const ROUNDS_OF_CODES: usize = 10;
/// Points of a piece of work: some milliseconds.
const PIECE: usize = 64;

/// Whether nothing is learnt from what stands on a node: one of sixteen. A query that took part in its own centroid finds its
/// neighbours by looking at fewer lists than one that comes from elsewhere.
pub(crate) fn is_held_out(node: u32) -> bool {
    mix(u64::from(node)).is_multiple_of(16)
}

/// What is being learnt, and how far it has come.
pub(crate) struct Training {
    trained_for: usize,
    parts: usize,
    sample: Vec<u32>,
    phase: Phase,
    distances: Distances,
}

enum Phase {
    /// Round of the lists, points of it that are done, and what they add up to.
    Cluster { round: usize, at: usize, coarse: Coarse, sums: Vec<f32>, counts: Vec<u32> },
    /// Rows of residuals by which the codebook is learnt.
    Residuals { at: usize, coarse: Coarse, rows: Vec<f32> },
    /// Parts of the codebook that are done.
    Codes { part: usize, coarse: Coarse, rows: Vec<f32>, codebook: Codebook },
    /// Nodes that are filed.
    File { at: u32, lists: Box<Lists> },
}

impl Training {
    /// Begins to learn `lists` centroids and codes of `parts` parts from all points there are, `lists` at least.
    pub fn new(points: &Points, lists: usize, parts: usize, space: Space) -> Self {
        let live: Vec<u32> = (0..points.nodes()).filter(|node| points.is_held(*node)).collect();
        let learnt: Vec<u32> = live.iter().copied().filter(|node| !is_held_out(*node)).collect();
        let sample = every(if learnt.len() < lists { &live } else { &learnt }, lists * SAMPLES_A_LIST);
        let rows = every(&sample, lists).iter().flat_map(|node| points.vectors.row(*node).into_owned()).collect();
        let phase = Phase::cluster(0, Coarse::new(points.vectors.dim(), rows, space.kernels()));
        Self { trained_for: live.len(), parts, sample, phase, distances: Distances::default() }
    }

    /// Does a piece of the work; gives the lists when all of it is done.
    pub fn step(mut self: Box<Self>, points: &Points, space: Space) -> Result<Lists, Box<Self>> {
        let dim = points.vectors.dim();
        self.phase = match self.phase {
            Phase::Cluster { round, at, coarse, mut sums, mut counts } => {
                let piece = &self.sample[at..self.sample.len().min(at + PIECE)];
                for node in piece {
                    let vector = &*points.vectors.row(*node);
                    let list = coarse.nearest(vector, space.kernels(), &mut self.distances);
                    counts[list] += 1;
                    sums[list * dim..][..dim].iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
                }
                let at = at + piece.len();
                if at < self.sample.len() {
                    Phase::Cluster { round, at, coarse, sums, counts }
                } else {
                    let coarse = Coarse::new(dim, means(&coarse, sums, &counts), space.kernels());
                    if round + 1 < ROUNDS {
                        Phase::cluster(round + 1, coarse)
                    } else {
                        self.sample = every(&self.sample, SAMPLES_OF_CODES);
                        Phase::Residuals { at: 0, coarse, rows: Vec::new() }
                    }
                }
            }
            Phase::Residuals { at, coarse, mut rows } => {
                let piece = &self.sample[at..self.sample.len().min(at + PIECE)];
                let mut row = Vec::new();
                for node in piece {
                    let vector = &*points.vectors.row(*node);
                    let list = coarse.nearest(vector, space.kernels(), &mut self.distances);
                    residual(&coarse, list, vector, space.metric(), &mut row);
                    rows.extend_from_slice(&row);
                }
                let at = at + piece.len();
                if at < self.sample.len() {
                    Phase::Residuals { at, coarse, rows }
                } else {
                    Phase::Codes { part: 0, coarse, rows, codebook: Codebook::new(dim, self.parts) }
                }
            }
            Phase::Codes { part, coarse, rows, mut codebook } => {
                learn_part(&mut codebook, part, &rows, dim);
                if part + 1 < self.parts {
                    Phase::Codes { part: part + 1, coarse, rows, codebook }
                } else {
                    Phase::File { at: 0, lists: Box::new(Lists::new(self.trained_for, coarse, codebook)) }
                }
            }
            Phase::File { at, mut lists } => {
                let end = points.nodes().min(at + PIECE as u32);
                for node in (at..end).filter(|node| points.is_held(*node)) {
                    let filing = lists.survey(&points.vectors.row(node), space);
                    filing.iter().for_each(|entry| {
                        lists.file(node, entry, space);
                    });
                }
                if end == points.nodes() {
                    return Ok(*lists);
                }
                Phase::File { at: end, lists }
            }
        };
        Err(self)
    }
}

impl Phase {
    fn cluster(round: usize, coarse: Coarse) -> Self {
        let (sums, counts) = (vec![0.0; coarse.rows().len()], vec![0; coarse.len()]);
        Self::Cluster { round, at: 0, coarse, sums, counts }
    }
}

/// About `count` of them, evenly spread; all if they are fewer.
fn every(all: &[u32], count: usize) -> Vec<u32> {
    if all.len() <= count {
        return all.to_vec();
    }
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

/// The new centroids. One that nothing was nearest to moves beside the fullest one, of which it takes a share next time.
fn means(old: &Coarse, mut sums: Vec<f32>, counts: &[u32]) -> Vec<f32> {
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
            // Towards where the fullest has come from: a direction that the points themselves gave.
            let (new, before) = (sums[fullest * dim + i], old.row(fullest)[i]);
            sums[list * dim + i] = new + (before - new) * 0.5 + new * 1e-3;
        }
    }
    sums
}

/// Lloyd's algorithm on one part of the rows.
fn learn_part(codebook: &mut Codebook, part: usize, rows: &[f32], dim: usize) {
    let range = codebook.range(part);
    let length = range.len();
    let count = rows.len() / dim;
    let part_of = |row: usize| &rows[row * dim + range.start..row * dim + range.end];
    // Number by number, as the codebook has them.
    let mut values = vec![0.0; length * VALUES];
    for code in 0..VALUES {
        let row = part_of(code * count / VALUES);
        (0..length).for_each(|i| values[i * VALUES + code] = row[i]);
    }
    for _ in 0..ROUNDS_OF_CODES {
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
    use crate::config::Metric;
    use crate::datatype::Datatype;
    use crate::originals::VectorStorage;
    use crate::testing::clustered;

    #[test]
    fn nothing_is_learnt_from_what_is_held_out() {
        let mut points = Points::new(4, Datatype::Float32, VectorStorage::Memory);
        for (slot, vector) in (0..).zip(clustered(1, 1_600, 4, 8)) {
            points.claim(slot, &vector);
        }
        let sample = |lists| Training::new(&points, lists, 2, Space::best(Metric::Euclid)).sample;
        let held_out = (0..1_600).filter(|node| is_held_out(*node)).count();
        assert!((60..140).contains(&held_out), "{held_out} of 1,600");
        assert_eq!(sample(100).len(), 1_600 - held_out);
        assert!(sample(100).iter().all(|node| !is_held_out(*node)));
        assert!(sample(10).len() == 480 && sample(10).iter().all(|node| !is_held_out(*node)));
        assert_eq!(sample(1_599).len(), 1_600, "where there are hardly more points than lists, all are needed");
    }
}
