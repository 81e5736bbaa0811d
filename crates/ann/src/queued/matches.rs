//! Who a filter matches, found once for all queries of a batch, and for those that come after them.

use crate::bitset::BitSet;
use crate::codes::PackedSigns;
use crate::filter::Filter;
use crate::once::Once;
use crate::structure::Structure;

use super::Queued;

/// Queries that share it, at least: for one that does not come again it is not found out.
const FEWEST: usize = 32;

/// Points for each query that then need not look for itself, at most: some microseconds.
const LISTED_A_QUERY: usize = 8_192;

/// The same where a predicate must be asked of each: a search asks it as often by itself.
const ASKED_A_QUERY: usize = 1_024;

/// Nodes that match and are visible.
pub(super) struct Matches<N> {
    pub nodes: Vec<u32>,
    set: BitSet,
    /// Their sketches, where they are compared with all of them.
    pub sketches: Once<PackedSigns>,
    /// What the structure notes of them.
    pub noted: N,
}

impl<N> Matches<N> {
    #[inline]
    pub fn has(&self, node: u32) -> bool {
        self.set.has(node)
    }
}

impl<S: Structure> Queued<S> {
    /// Whether so many queries make it worth to find out who matches.
    pub(super) fn is_worth_matching(&self, filter: &Filter<'_>, queries: usize) -> bool {
        let most = if filter.listed().is_some() { LISTED_A_QUERY } else { ASKED_A_QUERY };
        queries >= FEWEST && self.points.len() <= queries.saturating_mul(most)
    }

    /// Who matches.
    pub(super) fn matches(&self, filter: &Filter<'_>) -> Matches<S::Noted> {
        let nodes = self.matching_nodes(Some(filter));
        let set = BitSet::of(&nodes, self.points.nodes() as usize);
        Matches { nodes, set, sketches: Once::default(), noted: S::Noted::default() }
    }

    /// All nodes that match and are visible.
    pub(super) fn matching_nodes(&self, filter: Option<&Filter<'_>>) -> Vec<u32> {
        let mut nodes = Vec::with_capacity(filter.map_or(self.points.len(), Filter::expected).min(self.points.len()));
        self.points.each(filter, |_, node| nodes.push(node));
        if self.hidden() > 0 {
            nodes.retain(|node| self.is_visible(*node));
        }
        nodes
    }
}
