//! Searches of one level, shared by queries and inserts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bitset::BitSet;
use crate::kernels::prefetch;
use crate::neighbor::Neighbor;

use super::candidate_list::CandidateList;
use super::early_termination::EarlyTermination;
use super::graph::Graph;
use super::packed_neighbors::PackedQuery;
use super::scorer::{PreparedQuery, Scorer};

/// Links that are not accepted and are expanded as bridges, per node, at most: more cost more than the nodes behind
/// them are worth.
pub(super) const MAX_BRIDGES: usize = 8;

/// Accepted nodes that are due before selectivity is judged. The search then gives up if fewer than one in so many was
/// found.
const MIN_EXPECTED: usize = 8;

/// Reusable memory of a search.
#[derive(Default)]
pub(crate) struct Scratch {
    pub query: PreparedQuery,
    /// For distances from other nodes than the query.
    pub other: PreparedQuery,
    pub candidates: CandidateList,
    /// Nodes of a search by estimates whose distance was computed.
    pub shortlist: CandidateList,
    pub packed_query: PackedQuery,
    pub visited: VisitedSet,
}

/// Visited nodes.
#[derive(Default)]
pub(crate) struct VisitedSet {
    nodes: BitSet,
    /// Nodes visited last, whose distances are computed next.
    batch: Vec<u32>,
    /// Links that are not accepted.
    bridges: Vec<u32>,
}

impl VisitedSet {
    pub fn reset(&mut self, nodes: u32) {
        self.nodes.reset(nodes as usize);
    }

    /// Adds a node; false if it was visited.
    #[inline]
    pub fn insert(&mut self, node: u32) -> bool {
        self.nodes.insert(node)
    }

    #[inline]
    pub fn contains(&self, node: u32) -> bool {
        self.nodes.contains(node)
    }
}

/// Candidates of a search, and its result.
pub(super) trait Frontier {
    /// Adds a visited node.
    fn push(&mut self, neighbor: Neighbor);

    /// The nearest candidate that is not expanded yet, while it may improve the result.
    fn pop_nearest_unexpanded(&mut self) -> Option<Neighbor>;
}

/// Unfiltered frontier with early termination.
struct Beam<'a> {
    candidates: &'a mut CandidateList,
    termination: EarlyTermination,
}

impl Frontier for Beam<'_> {
    #[inline]
    fn push(&mut self, neighbor: Neighbor) {
        self.candidates.push(neighbor);
    }

    #[inline]
    fn pop_nearest_unexpanded(&mut self) -> Option<Neighbor> {
        let (place, neighbor) = self.candidates.pop_nearest_unexpanded()?;
        self.termination.step(Some(place)).then_some(neighbor)
    }
}

/// Keeps the `ef` nearest accepted nodes. Other nodes are expanded and do not count, so the search widens until it has
/// `ef` accepted nodes or has visited all. It gives up when far fewer accepted nodes appear than expected.
pub(super) struct FilteredFrontier<A> {
    ef: usize,
    accepts: A,
    /// Nodes per accepted node, expected.
    one_in: usize,
    found: BinaryHeap<Neighbor>,
    candidates: BinaryHeap<Reverse<Neighbor>>,
    /// Nodes that were near enough to become candidates, and the accepted ones of them.
    admitted: usize,
    accepted: usize,
}

/// Result of a filtered search.
pub(super) enum SearchOutcome {
    /// The nearest accepted nodes, nearest first.
    Found(Vec<Neighbor>),
    /// The budget of distances was exceeded.
    BudgetExceeded,
    /// Far fewer nodes near the query are accepted than expected.
    LowSelectivity,
}

impl<A: Fn(u32) -> bool> FilteredFrontier<A> {
    fn admits(&self, neighbor: Neighbor) -> bool {
        self.found.len() < self.ef || self.found.peek().is_some_and(|worst| neighbor < *worst)
    }

    /// Whether so few candidates were accepted that chance does not explain it.
    fn is_low_selectivity(&self) -> bool {
        let expected = self.admitted / self.one_in;
        expected >= MIN_EXPECTED && self.accepted * MIN_EXPECTED < expected
    }
}

impl<A: Fn(u32) -> bool> Frontier for FilteredFrontier<A> {
    fn push(&mut self, neighbor: Neighbor) {
        if self.admits(neighbor) {
            self.admitted += 1;
            self.candidates.push(Reverse(neighbor));
            if (self.accepts)(neighbor.id()) {
                self.accepted += 1;
                self.found.push(neighbor);
                if self.found.len() > self.ef {
                    self.found.pop();
                }
            }
        }
    }

    fn pop_nearest_unexpanded(&mut self) -> Option<Neighbor> {
        let Reverse(neighbor) = self.candidates.pop()?;
        (self.admits(neighbor) && !self.is_low_selectivity()).then_some(neighbor)
    }
}

impl Graph {
    /// Greedy search of a level from one node (Alg. 2 with `ef` of 1).
    pub(super) fn greedy_search_layer(
        &self,
        query: &PreparedQuery,
        mut at: Neighbor,
        level: usize,
        scorer: Scorer<'_>,
    ) -> Neighbor {
        loop {
            let links = self.links(at.id(), level);
            links.iter().for_each(|node| scorer.prefetch(*node));
            match links.iter().map(|node| scorer.neighbor(query, *node)).min() {
                Some(nearer) if nearer < at => at = nearer,
                _ => return at,
            }
        }
    }

    /// The nearest node found by greedy search from the entry point down to `level`, exclusive; none in an empty graph.
    pub(super) fn search_entry_point(
        &self,
        query: &PreparedQuery,
        level: usize,
        scorer: Scorer<'_>,
    ) -> Option<Neighbor> {
        let entry = self.entry?;
        let at = scorer.neighbor(query, entry);
        Some(
            (level + 1..=self.level(entry))
                .rev()
                .fold(at, |at, level| self.greedy_search_layer(query, at, level, scorer)),
        )
    }

    /// Best-first search of a level (Alg. 2) from the nodes in the frontier; false if it would exceed the budget of
    /// distances.
    pub(super) fn expand_layer(
        &self,
        query: &PreparedQuery,
        level: usize,
        budget: usize,
        frontier: &mut impl Frontier,
        scorer: Scorer<'_>,
        visited: &mut VisitedSet,
    ) -> bool {
        let mut spent = 0;
        let mut batch = std::mem::take(&mut visited.batch);
        while let Some(neighbor) = frontier.pop_nearest_unexpanded() {
            batch.clear();
            for &node in self.links(neighbor.id(), level) {
                if visited.insert(node) {
                    scorer.prefetch(node);
                    batch.push(node);
                }
            }
            spent += batch.len();
            if spent > budget {
                break;
            }
            batch.iter().for_each(|node| frontier.push(scorer.neighbor(query, *node)));
        }
        visited.batch = batch;
        spent <= budget
    }

    /// Finds the `ef` nearest nodes of a level from `from`, for the query in `scratch`; they are in its candidates.
    /// Nodes that are already in the visited set are skipped.
    pub(super) fn search_layer(
        &self,
        from: impl Iterator<Item = Neighbor>,
        level: usize,
        (ef, termination): (usize, EarlyTermination),
        scorer: Scorer<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { query, candidates, visited, .. } = scratch;
        candidates.reset(ef.min(self.nodes() as usize), scorer.vectors.space.kernels());
        let mut beam = Beam { candidates, termination };
        for neighbor in from {
            if visited.insert(neighbor.id()) {
                beam.push(neighbor);
            }
        }
        self.expand_layer(query, level, usize::MAX, &mut beam, scorer, visited);
    }

    /// Finds the `ef` nearest accepted nodes of level 0; one in `one_in` nodes should be accepted.
    pub(super) fn search_layer_filtered(
        &self,
        from: Neighbor,
        (ef, one_in, budget): (usize, usize, usize),
        accepts: impl Fn(u32) -> bool,
        scorer: Scorer<'_>,
        scratch: &mut Scratch,
    ) -> SearchOutcome {
        let Scratch { query, visited, .. } = scratch;
        visited.reset(self.nodes());
        visited.insert(from.id());
        let (found, candidates) = Default::default();
        let mut accepted = FilteredFrontier { ef, accepts, one_in, found, candidates, admitted: 0, accepted: 0 };
        accepted.push(from);
        if !self.expand_layer(query, 0, budget, &mut accepted, scorer, visited) {
            return SearchOutcome::BudgetExceeded;
        }
        if accepted.is_low_selectivity() {
            SearchOutcome::LowSelectivity
        } else {
            SearchOutcome::Found(accepted.found.into_sorted_vec())
        }
    }

    /// Finds the nearest accepted nodes of level 0 by expanding accepted nodes only; they are in the candidates of
    /// `scratch`. Links that are not accepted serve as bridges to nodes behind them (Patel et al., arXiv 2403.04871,
    /// "ACORN", 5.2). False if that would exceed the budget of distances.
    pub(super) fn search_layer_two_hop(
        &self,
        from: &[u32],
        (ef, budget): (usize, usize),
        accepts: impl Fn(u32) -> bool,
        scorer: Scorer<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { query, candidates, visited, .. } = scratch;
        visited.reset(self.nodes());
        candidates.reset(ef.min(self.nodes() as usize), scorer.vectors.space.kernels());
        let (mut batch, mut bridges) = (std::mem::take(&mut visited.batch), std::mem::take(&mut visited.bridges));
        batch.clear();
        for &node in from {
            if !accepts(node) {
                self.collect_accepted(node, &accepts, visited, &mut batch, &mut bridges);
            } else if visited.insert(node) {
                batch.push(node);
            }
        }
        let mut spent = 0;
        loop {
            spent += batch.len();
            batch.iter().for_each(|node| _ = candidates.push(scorer.neighbor(query, *node)));
            batch.clear();
            let Some((_, neighbor)) = candidates.pop_nearest_unexpanded().filter(|_| spent <= budget) else { break };
            self.collect_accepted(neighbor.id(), &accepts, visited, &mut batch, &mut bridges);
            batch.iter().for_each(|node| scorer.prefetch(*node));
        }
        (visited.batch, visited.bridges) = (batch, bridges);
        spent <= budget
    }

    /// Collects accepted nodes that are not visited: links of a node, and nodes behind up to [`MAX_BRIDGES`] other
    /// links.
    fn collect_accepted(
        &self,
        node: u32,
        accepts: &impl Fn(u32) -> bool,
        visited: &mut VisitedSet,
        batch: &mut Vec<u32>,
        bridges: &mut Vec<u32>,
    ) {
        bridges.clear();
        let links = self.links(node, 0);
        for &link in links {
            if visited.contains(link) {
                continue;
            }
            if accepts(link) {
                visited.insert(link);
                batch.push(link);
            } else if bridges.len() < MAX_BRIDGES {
                bridges.push(link);
            }
        }
        bridges.iter().for_each(|bridge| prefetch(self.links(*bridge, 0)));
        for &bridge in &*bridges {
            visited.insert(bridge);
            for &behind in self.links(bridge, 0) {
                if !visited.contains(behind) && accepts(behind) {
                    visited.insert(behind);
                    batch.push(behind);
                }
            }
        }
    }
}
