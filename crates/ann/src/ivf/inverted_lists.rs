//! All lists, and which lists a node is on: that of the nearest centroid, and where there are more a second one.

use std::sync::Arc;

use meridian_pages::Pages;

use crate::kernels::Kernels;
use crate::metric::{Metric, Space};
use crate::params::LISTS_PER_POINT;

use super::coarse_quantizer::{CentroidDistances, CoarseQuantizer};
use super::codebook::Codebook;
use super::inverted_list::InvertedList;

/// Marks what a node that is on one list, or on none, does not have.
const NO_LIST: u32 = u32::MAX;

/// The lists that a node is on.
#[derive(Clone, Copy)]
struct ListMembership([u32; LISTS_PER_POINT]);

impl Default for ListMembership {
    fn default() -> Self {
        Self([NO_LIST; LISTS_PER_POINT])
    }
}

/// What was learnt, and the points filed by it.
pub(crate) struct InvertedLists {
    /// Points that there were when it was learnt.
    pub trained_for: usize,
    /// Points that have come in since.
    pub inserted_since: u64,
    pub coarse: Arc<CoarseQuantizer>,
    pub codebook: Arc<Codebook>,
    pub lists: Pages<Arc<InvertedList>>,
    /// By node.
    on_lists: Pages<ListMembership>,
    // --- what only changes look at ---
    /// By node: where on its lists it is.
    positions: Vec<[u32; LISTS_PER_POINT]>,
    /// Memory that filing works in.
    decoded: Vec<f32>,
}

/// A list that a point is put on, and how it is written there.
#[derive(Clone)]
pub(crate) struct ListEntry {
    pub list: usize,
    pub codes: Vec<u8>,
}

/// Where a point is put: on one list or on two.
pub(crate) type ListEntries = Vec<ListEntry>;

impl InvertedLists {
    pub fn new(trained_for: usize, coarse: CoarseQuantizer, codebook: Codebook) -> Self {
        let lists = Pages::of(coarse.len());
        let (coarse, codebook) = (Arc::new(coarse), Arc::new(codebook));
        let on_lists = Pages::default();
        Self {
            trained_for,
            inserted_since: 0,
            coarse,
            codebook,
            lists,
            on_lists,
            positions: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// The lists as they are now, to be searched.
    pub fn view(&self) -> Self {
        Self {
            trained_for: self.trained_for,
            inserted_since: self.inserted_since,
            coarse: Arc::clone(&self.coarse),
            codebook: Arc::clone(&self.codebook),
            lists: self.lists.clone(),
            on_lists: self.on_lists.clone(),
            positions: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// A list, to be changed where no view looks.
    fn list_mut(&mut self, list: usize) -> &mut InvertedList {
        Arc::make_mut(self.lists.get_mut(list).expect("the list exists"))
    }

    /// The lists that a vector goes to, and its codes there.
    pub fn assign(&self, vector: &[f32], space: Space) -> ListEntries {
        let (kernels, mut distances) = (space.kernels(), CentroidDistances::default());
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
            ListEntry { list, codes }
        };
        [Some(first), second].into_iter().flatten().map(entry).collect()
    }

    /// Puts a node on a list; false if it is on that one, or on two.
    pub fn add(&mut self, node: u32, ListEntry { list, codes }: &ListEntry, space: Space) -> bool {
        let list = *list;
        let at = node as usize;
        if self.positions.len() <= at {
            self.positions.resize(at + 1, [NO_LIST; LISTS_PER_POINT]);
            self.on_lists.grow(at + 1);
        }
        let ListMembership(lists) = self.on_lists[at];
        let Some(free) = lists.iter().position(|list| *list == NO_LIST) else { return false };
        if lists.contains(&(list as u32)) {
            return false;
        }
        let bias = (space.metric() == Metric::Euclid).then(|| {
            self.codebook.decode(codes, &mut self.decoded);
            bias(self.coarse.row(list), &self.decoded, space.kernels())
        });
        let padded = self.codebook.padded();
        let position = self.list_mut(list).push(node, codes, bias, padded);
        self.on_lists.get_mut(at).expect("the list was just resized").0[free] = list as u32;
        self.positions[at][free] = position as u32;
        true
    }

    /// The lists that a node is on.
    #[inline]
    pub fn lists_of(&self, node: u32) -> impl Iterator<Item = usize> {
        let lists = self.on_lists.get(node as usize).into_iter().flat_map(|ListMembership(lists)| lists);
        lists.filter(|list| **list != NO_LIST).map(|list| *list as usize)
    }

    /// Whether a node is on a list.
    pub fn contains(&self, node: u32) -> bool {
        self.lists_of(node).next().is_some()
    }

    pub fn remove(&mut self, node: u32) {
        let Some(ListMembership(lists)) = self.on_lists.get_mut(node as usize).map(std::mem::take) else { return };
        let (parts, padded) = (self.codebook.parts(), self.codebook.padded());
        for (list, at) in lists.into_iter().zip(self.positions[node as usize]).filter(|(list, _)| *list != NO_LIST) {
            let moved = self.list_mut(list as usize).swap_remove(at as usize, parts, padded);
            let Some(moved) = moved.map(|moved| moved as usize) else { continue };
            let ListMembership(lists) = &self.on_lists[moved];
            let same = lists.iter().position(|other| *other == list).expect("the moved node is on the list");
            self.positions[moved][same] = at;
        }
    }

    pub fn bytes(&self) -> usize {
        self.lists.iter().map(|list| list.bytes()).sum::<usize>()
            + self.lists.bytes()
            + self.coarse.bytes()
            + self.on_lists.bytes()
            + self.positions.capacity() * size_of::<[u32; LISTS_PER_POINT]>()
    }
}

/// What is encoded of a vector: the way from its centroid; under Manhattan, where distances to sums are no sums of
/// distances, the vector itself.
pub(super) fn residual(coarse: &CoarseQuantizer, list: usize, vector: &[f32], metric: Metric, out: &mut Vec<f32>) {
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
