//! Who a filter matches, found once for all queries of a batch, and for those that come after them.

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
    /// Their sketches, where they are compared with all of them.
    pub binary_codes: RacyOnceCell<PackedBinaryCodes>,
    /// What the structure notes of them.
    pub cache: N,
}

impl<N> MatchingSet<N> {
    #[inline]
    pub fn contains(&self, node: u32) -> bool {
        self.set.contains(node)
    }
}

impl<S: RecallTunable> BufferedIndex<S> {
    /// Who matches.
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
