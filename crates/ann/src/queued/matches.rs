//! Who a filter matches, found once for all queries of a batch.

use crate::filter::Filter;
use crate::structure::Structure;

use super::Queued;
use super::scan::FEWEST_TOGETHER;

/// Points for each query that then need not look for itself, at most: some microseconds.
const LISTED_A_QUERY: usize = 8_192;

/// The same where a predicate must be asked of each: a search asks it as often by itself.
const ASKED_A_QUERY: usize = 1_024;

/// Nodes that match and are visible.
pub(super) struct Matches {
    pub nodes: Vec<u32>,
    /// The same, a bit each.
    bits: Vec<u64>,
}

impl Matches {
    #[inline]
    pub fn has(&self, node: u32) -> bool {
        self.bits[node as usize / 64] >> (node % 64) & 1 == 1
    }
}

impl<S: Structure> Queued<S> {
    /// Who matches, if so many queries make it worth to find out.
    pub(super) fn matches(&self, filter: Option<&Filter<'_>>, queries: usize) -> Option<Matches> {
        let filter = filter?;
        let most = if filter.listed().is_some() { LISTED_A_QUERY } else { ASKED_A_QUERY };
        if queries < FEWEST_TOGETHER || self.points.len() > queries.saturating_mul(most) {
            return None;
        }
        let nodes = self.matching_nodes(Some(filter));
        let mut bits = vec![0; (self.points.nodes() as usize).div_ceil(64)];
        nodes.iter().for_each(|node| bits[*node as usize / 64] |= 1_u64 << (node % 64));
        Some(Matches { nodes, bits })
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
