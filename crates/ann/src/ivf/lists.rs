//! All lists, and which list a node is on.

use crate::config::Metric;
use crate::kernels::Kernels;
use crate::space::Space;

use super::coarse::Coarse;
use super::codebook::Codebook;
use super::list::List;

/// Marks a node that is on no list.
const NOWHERE: (u32, u32) = (u32::MAX, u32::MAX);

/// What was learnt, and the points filed by it.
pub(crate) struct Lists {
    /// Points that there were when it was learnt.
    pub trained_for: usize,
    pub coarse: Coarse,
    pub codebook: Codebook,
    pub lists: Vec<List>,
    /// By node: list and place.
    places: Vec<(u32, u32)>,
    /// Memory that filing works in.
    decoded: Vec<f32>,
}

/// Where a point is put, and how it is written there.
pub(crate) struct Filing {
    pub list: usize,
    pub codes: Vec<u8>,
}

impl Lists {
    pub fn new(trained_for: usize, coarse: Coarse, codebook: Codebook) -> Self {
        let lists = (0..coarse.len()).map(|_| List::default()).collect();
        Self { trained_for, coarse, codebook, lists, places: Vec::new(), decoded: Vec::new() }
    }

    /// The list of the nearest centroid, and the codes there.
    pub fn survey(&self, vector: &[f32], space: Space) -> Filing {
        let list = self.coarse.nearest(vector, space.kernels(), &mut Vec::new());
        let (mut rest, mut codes) = (Vec::new(), Vec::new());
        residual(&self.coarse, list, vector, space.metric(), &mut rest);
        match along(space.metric(), vector, space.kernels()) {
            Some((weight, direction)) => self.codebook.encode_along(&rest, &direction, weight, &mut codes),
            None => self.codebook.encode(&rest, &mut codes),
        }
        Filing { list, codes }
    }

    /// Puts a node on a list.
    pub fn file(&mut self, node: u32, Filing { list, codes }: &Filing, space: Space) {
        let list = *list;
        let bias = (space.metric() == Metric::Euclid).then(|| {
            self.codebook.decode(codes, &mut self.decoded);
            bias(self.coarse.row(list), &self.decoded, space.kernels())
        });
        let at = self.lists[list].push(node, codes, bias, self.codebook.padded());
        let node = node as usize;
        if self.places.len() <= node {
            self.places.resize(node + 1, NOWHERE);
        }
        self.places[node] = (list as u32, at as u32);
    }

    /// Whether a node is on a list.
    pub fn holds(&self, node: u32) -> bool {
        self.places.get(node as usize).is_some_and(|place| *place != NOWHERE)
    }

    pub fn remove(&mut self, node: u32) {
        let Some(place) = self.places.get_mut(node as usize) else { return };
        let (list, at) = std::mem::replace(place, NOWHERE);
        if (list, at) == NOWHERE {
            return;
        }
        let moved = self.lists[list as usize].swap_remove(at as usize, self.codebook.parts(), self.codebook.padded());
        if let Some(moved) = moved {
            self.places[moved as usize] = (list, at);
        }
    }

    /// All nodes on lists.
    pub fn nodes(&self) -> impl Iterator<Item = u32> {
        self.lists.iter().flat_map(|list| list.nodes().iter().copied())
    }

    pub fn bytes(&self) -> usize {
        self.lists.iter().map(List::bytes).sum::<usize>() + self.coarse.bytes() + self.places.capacity() * 8
    }
}

/// What is encoded of a vector: the way from its centroid; under Manhattan, where distances to sums are no sums of
/// distances, the vector itself.
pub(super) fn residual(coarse: &Coarse, list: usize, vector: &[f32], metric: Metric, out: &mut Vec<f32>) {
    out.clear();
    if metric == Metric::Manhattan {
        out.extend_from_slice(vector);
    } else {
        out.extend(vector.iter().zip(coarse.row(list)).map(|(x, c)| x - c));
    }
}

/// The weight and direction for [`Codebook::encode_along`], where distances are inner products.
fn along(metric: Metric, vector: &[f32], kernels: &Kernels) -> Option<(f32, Vec<f32>)> {
    /// Cosine of a point and a query below which the point is of no interest; 0.2 in the paper.
    const THRESHOLD: f32 = 0.2;
    let square = (kernels.dot)(vector, vector);
    if !matches!(metric, Metric::Cosine | Metric::Dot) || square == 0.0 || !square.is_finite() {
        return None;
    }
    let weight = (vector.len() - 1) as f32 * THRESHOLD * THRESHOLD / (1.0 - THRESHOLD * THRESHOLD);
    let length = square.sqrt();
    Some((weight.max(1.0), vector.iter().map(|x| x / length).collect()))
}

/// `|q - c - r|² = |q - c|² - 2 q·r + (|r|² + 2 c·r)`: the bracket, which knows no query.
fn bias(centroid: &[f32], decoded: &[f32], kernels: &Kernels) -> f32 {
    (kernels.dot)(decoded, decoded) + 2.0 * (kernels.dot)(centroid, decoded)
}
