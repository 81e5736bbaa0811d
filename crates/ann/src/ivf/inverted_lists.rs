//! All inverted lists, and the lists of each node: that of the nearest centroid, and a second one.

use std::sync::Arc;

use meridian_pages::Pages;

use crate::kernels::Kernels;
use crate::metric::{Metric, Space};
use crate::params::LISTS_PER_POINT;

use super::coarse_quantizer::{CentroidDistances, CoarseQuantizer};
use super::codebook::Codebook;
use super::inverted_list::InvertedList;

/// No list, for a node on less than two lists.
const NO_LIST: u32 = u32::MAX;

/// The lists of a node.
#[derive(Clone, Copy)]
struct ListMembership([u32; LISTS_PER_POINT]);

impl Default for ListMembership {
    fn default() -> Self {
        Self([NO_LIST; LISTS_PER_POINT])
    }
}

/// Result of a training, and the points assigned by it.
pub(crate) struct InvertedLists {
    /// Number of points at the time of training.
    pub trained_for: usize,
    /// Points inserted since.
    pub inserted_since: u64,
    pub coarse: Arc<CoarseQuantizer>,
    pub codebook: Arc<Codebook>,
    pub lists: Pages<Arc<InvertedList>>,
    /// Per node.
    on_lists: Pages<ListMembership>,
    // --- not part of views ---
    /// Per node: its positions on its lists.
    positions: Vec<[u32; LISTS_PER_POINT]>,
    /// Reused memory.
    decoded: Vec<f32>,
}

/// Assignment of a point to a list, with its codes there.
#[derive(Clone)]
pub(crate) struct ListEntry {
    pub list: usize,
    pub codes: Vec<u8>,
}

/// Assignment of a point to one or two lists.
pub(crate) type ListEntries = Vec<ListEntry>;

impl InvertedLists {
    pub fn new(trained_for: usize, coarse: CoarseQuantizer, codebook: Codebook) -> Self {
        let lists = Pages::with_len(coarse.len());
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

    /// The current lists, for searches.
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

    /// Mutable access to a list, copied if a view shares it.
    fn list_mut(&mut self, list: usize) -> &mut InvertedList {
        Arc::make_mut(self.lists.get_mut(list).expect("the list exists"))
    }

    /// Lists for a vector, and its codes there.
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

    /// Adds a node to a list; false if it is on that list or on two.
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

    /// Lists of a node.
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

/// The vector to encode: the residual from the centroid. With Manhattan the vector itself, because its distance is not
/// a sum over centroid and residual.
pub(super) fn residual(coarse: &CoarseQuantizer, list: usize, vector: &[f32], metric: Metric, out: &mut Vec<f32>) {
    out.clear();
    if metric == Metric::Manhattan {
        out.extend_from_slice(vector);
    } else {
        out.extend(vector.iter().zip(coarse.row(list)).map(|(x, c)| x - c));
    }
}

/// Weight and direction for [`Codebook::encode_along`], for inner products.
fn along(metric: Metric, vector: &[f32], kernels: &Kernels) -> Option<(f32, Vec<f32>)> {
    /// Cosine between point and query below which a point is irrelevant; 0.2 in the paper.
    const THRESHOLD: f32 = 0.2;
    let square = (kernels.dot)(vector, vector);
    if !matches!(metric, Metric::Cosine | Metric::Dot) || square == 0.0 || !square.is_finite() {
        return None;
    }
    let weight = (vector.len() - 1) as f32 * THRESHOLD * THRESHOLD / (1.0 - THRESHOLD * THRESHOLD);
    let length = square.sqrt();
    Some((weight.max(1.0), vector.iter().map(|x| x / length).collect()))
}

/// `|q - c - r|² = |q - c|² - 2 q·r + (|r|² + 2 c·r)`: the bracket, which does not depend on the query.
fn bias(centroid: &[f32], decoded: &[f32], kernels: &Kernels) -> f32 {
    (kernels.dot)(decoded, decoded) + 2.0 * (kernels.dot)(centroid, decoded)
}
