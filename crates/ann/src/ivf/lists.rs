//! All lists, and which lists a node is on: that of the nearest centroid, and where there are more a second one.

use std::sync::Arc;

use meridian_pages::Pages;

use crate::config::Metric;
use crate::kernels::Kernels;
use crate::space::Space;

use super::coarse::{Coarse, Distances};
use super::codebook::Codebook;
use super::list::List;

/// Marks the place of a node that is on no list, or on one alone.
const NOWHERE: (u32, u32) = (u32::MAX, u32::MAX);

/// What was learnt, and the points filed by it.
pub(crate) struct Lists {
    /// Points that there were when it was learnt.
    pub trained_for: usize,
    pub coarse: Arc<Coarse>,
    pub codebook: Arc<Codebook>,
    pub lists: Pages<Arc<List>>,
    // --- what only changes look at ---
    /// By node: list and place, twice.
    places: Vec<[(u32, u32); 2]>,
    /// Memory that filing works in.
    decoded: Vec<f32>,
}

/// A list that a point is put on, and how it is written there.
pub(crate) struct Entry {
    pub list: usize,
    pub codes: Vec<u8>,
}

/// Where a point is put: on one list or on two.
pub(crate) type Filing = Vec<Entry>;

impl Lists {
    pub fn new(trained_for: usize, coarse: Coarse, codebook: Codebook) -> Self {
        let lists = Pages::of(coarse.len());
        let (coarse, codebook) = (Arc::new(coarse), Arc::new(codebook));
        Self { trained_for, coarse, codebook, lists, places: Vec::new(), decoded: Vec::new() }
    }

    /// The lists as they are now, to be scanned.
    pub fn view(&self) -> Self {
        Self {
            trained_for: self.trained_for,
            coarse: Arc::clone(&self.coarse),
            codebook: Arc::clone(&self.codebook),
            lists: self.lists.clone(),
            places: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// A list, to be changed where no view looks.
    fn list_mut(&mut self, list: usize) -> &mut List {
        Arc::make_mut(self.lists.get_mut(list).expect("one of the lists"))
    }

    /// The lists that a vector goes to, and its codes there.
    pub fn survey(&self, vector: &[f32], space: Space) -> Filing {
        let (kernels, mut distances) = (space.kernels(), Distances::default());
        let first = self.coarse.nearest(vector, kernels, &mut distances);
        let second = self.coarse.second(vector, first, kernels, &mut distances);
        let along = along(space.metric(), vector, kernels);
        let mut rest = Vec::new();
        let entry = |list: usize| {
            let mut codes = Vec::new();
            residual(&self.coarse, list, vector, space.metric(), &mut rest);
            match &along {
                Some((weight, direction)) => self.codebook.encode_along(&rest, direction, *weight, &mut codes),
                None => self.codebook.encode(&rest, &mut codes),
            }
            Entry { list, codes }
        };
        [Some(first), second].into_iter().flatten().map(entry).collect()
    }

    /// Puts a node on a list; false if it is on that one, or on two.
    pub fn file(&mut self, node: u32, Entry { list, codes }: &Entry, space: Space) -> bool {
        let list = *list;
        let at = node as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, [NOWHERE; 2]);
        }
        let places = &self.places[at];
        let free = places.iter().position(|place| *place == NOWHERE);
        let Some(free) = free.filter(|_| places.iter().all(|(other, _)| *other as usize != list)) else { return false };
        let bias = (space.metric() == Metric::Euclid).then(|| {
            self.codebook.decode(codes, &mut self.decoded);
            bias(self.coarse.row(list), &self.decoded, space.kernels())
        });
        let padded = self.codebook.padded();
        let place = self.list_mut(list).push(node, codes, bias, padded);
        self.places[at][free] = (list as u32, place as u32);
        true
    }

    /// Whether a node is on a list.
    pub fn holds(&self, node: u32) -> bool {
        self.places.get(node as usize).is_some_and(|places| *places != [NOWHERE; 2])
    }

    pub fn remove(&mut self, node: u32) {
        let Some(places) = self.places.get_mut(node as usize) else { return };
        let places = std::mem::replace(places, [NOWHERE; 2]);
        for (list, at) in places.into_iter().filter(|place| *place != NOWHERE) {
            let (parts, padded) = (self.codebook.parts(), self.codebook.padded());
            let moved = self.list_mut(list as usize).swap_remove(at as usize, parts, padded);
            let Some(moved) = moved else { continue };
            let places = &mut self.places[moved as usize];
            places.iter_mut().filter(|place| place.0 == list).for_each(|place| place.1 = at);
        }
    }

    pub fn bytes(&self) -> usize {
        self.lists.iter().map(|list| list.bytes()).sum::<usize>()
            + self.lists.bytes()
            + self.coarse.bytes()
            + self.places.capacity() * size_of::<[(u32, u32); 2]>()
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
