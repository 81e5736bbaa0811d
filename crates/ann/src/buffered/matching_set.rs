//! The set of nodes that match a filter, shared by the queries of a batch and by later queries with the same filter.

use crate::approximate_index::RecallTunable;
use crate::bitset::BitSet;
use crate::filter::Filter;
use crate::once_cell::RacyOnceCell;
use crate::quantization::PackedBinaryCodes;

use super::BufferedIndex;

/// Nodes that match and are visible.
pub(super) struct MatchingSet<N> {
    pub nodes: Vec<u32>,
    set: BitSet,
    /// Their binary codes, packed, if a scan needs them.
    pub binary_codes: RacyOnceCell<PackedBinaryCodes>,
    /// Data that the index derives from the set.
    pub cache: N,
}

impl<N> MatchingSet<N> {
    #[inline]
    pub fn contains(&self, node: u32) -> bool {
        self.set.contains(node)
    }
}

impl<S: RecallTunable> BufferedIndex<S> {
    /// Computes the matching set of a filter.
    pub(super) fn matching_set(&self, filter: &Filter<'_>) -> MatchingSet<S::FilterCache> {
        let nodes = self.matching_nodes(Some(filter));
        let set = BitSet::of(&nodes, self.points.nodes() as usize);
        MatchingSet { nodes, set, binary_codes: RacyOnceCell::default(), cache: S::FilterCache::default() }
    }

    /// All nodes that match and are visible.
    pub(super) fn matching_nodes(&self, filter: Option<&Filter<'_>>) -> Vec<u32> {
        let mut nodes = Vec::with_capacity(filter.map_or(self.points.len(), Filter::expected).min(self.points.len()));
        self.points.for_each(filter, |_, node| nodes.push(node));
        if self.hidden() > 0 {
            nodes.retain(|node| self.is_visible(*node));
        }
        nodes
    }
}
