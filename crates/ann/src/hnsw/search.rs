//! Execution of queries on the graph.

use std::sync::{Mutex, PoisonError};

use crate::neighbor::Neighbor;
use crate::planner::GraphPlan;
use crate::search_request::SearchRequest;
use crate::storage::vector_store::Vectors;

use super::Hnsw;
use super::beam::{MAX_BRIDGES, Scratch, SearchOutcome};
use super::early_termination::EarlyTermination;
use super::packed_neighbors::PackedNeighbors;
use super::scorer::PreparedQuery;

/// Accepted nodes at which a filtered search starts, in addition to the entry point: all matches may be far from the
/// query.
const SEEDS: usize = 16;
/// Nodes that are tested for each seed, at most.
const NODES_PER_SEED: usize = 64;
/// The same for a search that expands matches only: if fewer nodes match, they are hardly linked to each other.
const NODES_PER_MATCHING_SEED: usize = 16;
/// Level from which a search by packed rows enters level 0: expanding one row estimates more nodes than a greedy step
/// on level 1.
const ENTRY_LEVEL: usize = 2;
/// Reusable memory, lent to one search at a time.
#[derive(Default)]
pub(super) struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    pub fn with<T>(&self, search: impl FnOnce(&mut Scratch) -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock().pop().unwrap_or_default();
        let found = search(&mut scratch);
        lock().push(scratch);
        found
    }
}

/// Parameters of a search by packed rows.
struct BeamParams {
    /// Start nodes.
    from: Vec<Neighbor>,
    /// Capacity of the candidate list.
    capacity: usize,
    /// Beam entries that [`EarlyTermination`] is derived from.
    termination: usize,
}

/// Result of a search that filters its result.
struct BeamResult {
    expanded: usize,
    /// Accepted nodes among the expanded ones.
    accepted: usize,
    found: Vec<Neighbor>,
}

impl BeamResult {
    /// Whether fewer than half as many nodes match as expected: the matches are elsewhere, or many nodes are hidden.
    fn is_low_selectivity(&self, request: &SearchRequest<'_>) -> bool {
        2 * self.accepted.saturating_mul(request.points) < self.expanded.saturating_mul(request.matching)
    }
}

impl Hnsw {
    /// The nearest nodes; none where a scan is cheaper, by the plan or by the outcome of the search.
    pub(super) fn search(
        &self,
        request: &SearchRequest<'_>,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Option<Vec<Neighbor>> {
        let SearchRequest { points, k, .. } = *request;
        let plan = GraphPlan::new(request, request.params.ef.unwrap_or(self.graph.ef_construct).max(k))?;
        self.scratches.with(|scratch| {
            self.scorer(vectors).set_query_vector(request.query, &mut scratch.query);
            let is_enough = |result: &BeamResult| result.found.len() >= k.min(points);
            if let Some(rows) = &self.packed_neighbors {
                rows.set_query(scratch.query.rotated(), vectors.space.kernels(), &mut scratch.packed_query);
                scratch.shortlist.reset(0, vectors.space.kernels());
            }
            let result = plan.is_postfiltered.then(|| match &self.packed_neighbors {
                Some(rows) => self.search_rows(rows, request, plan.ef, &accepts, vectors, scratch),
                None => self.search_links(request, plan.ef, &accepts, vectors, scratch),
            });
            result
                .filter(|result| is_enough(result) && !(request.is_filtered && result.is_low_selectivity(request)))
                .or_else(|| {
                    let rows = self.packed_neighbors.as_ref()?;
                    self.search_matching_rows(rows, request, plan.matching_beam?, &accepts, vectors, scratch)
                        .filter(is_enough)
                })
                .map(|result| result.found)
                .or_else(|| self.search_filtered(request, &plan, &accepts, vectors, scratch))
        })
    }

    /// First form: searches everything by links and filters the result.
    fn search_links(
        &self,
        request: &SearchRequest<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> BeamResult {
        let scorer = self.scorer(vectors);
        let from = self.graph.search_entry_point(&scratch.query, 0, scorer);
        // So many nearest nodes should contain `k` and `ef` matches.
        let (head, capacity) = (request.spread(request.k), request.spread(ef));
        scratch.visited.reset(self.graph.nodes());
        self.graph.search_layer(
            from.into_iter(),
            0,
            (capacity, EarlyTermination::new(head, capacity)),
            scorer,
            scratch,
        );
        let mut expanded = 0;
        let neighbors = scratch.candidates.neighbors().inspect(|_| expanded += 1);
        let found: Vec<Neighbor> = neighbors.filter(|neighbor| accepts(neighbor.id())).collect();
        let accepted = found.len();
        BeamResult { expanded, accepted, found: self.rerank(found, request, &scratch.query, vectors) }
    }

    /// As [`Self::search_links`] by packed rows: distances of links are estimated, only those of expanded nodes are
    /// computed.
    fn search_rows(
        &self,
        rows: &PackedNeighbors,
        request: &SearchRequest<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> BeamResult {
        let from = self.graph.search_entry_point(&scratch.query, ENTRY_LEVEL, self.scorer(vectors));
        // A node that does not match neither improves the result nor counts as a step without improvement.
        let beam = BeamParams { from: from.into_iter().collect(), capacity: request.spread(ef), termination: ef };
        self.search_packed_layer(rows, request, beam, |_| true, accepts, vectors, scratch)
    }

    /// Second form: expands matches only, and bridges between them. It starts at the matches that the first form found,
    /// else at seeds. None if too few nodes match.
    fn search_matching_rows(
        &self,
        rows: &PackedNeighbors,
        request: &SearchRequest<'_>,
        capacity: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Option<BeamResult> {
        let seeds = self.seeds(NODES_PER_MATCHING_SEED, accepts);
        if seeds.len() < SEEDS {
            return None;
        }
        let scorer = self.scorer(vectors);
        let mut from: Vec<Neighbor> = scratch.shortlist.neighbors().collect();
        if from.is_empty() {
            from.extend(self.graph.search_entry_point(&scratch.query, ENTRY_LEVEL, scorer));
            from.extend(seeds.into_iter().map(|node| scorer.neighbor(&scratch.query, node)));
        }
        let beam = BeamParams { from, capacity, termination: capacity };
        Some(self.search_packed_layer(rows, request, beam, accepts, accepts, vectors, scratch))
    }

    /// Best-first search of level 0 by packed rows. `leads`: whether a node may be expanded.
    #[expect(clippy::too_many_arguments, reason = "two searches that differ in three of them")]
    #[inline]
    fn search_packed_layer(
        &self,
        packed_neighbors: &PackedNeighbors,
        request: &SearchRequest<'_>,
        BeamParams { from, capacity, termination }: BeamParams,
        leads: impl Fn(u32) -> bool,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> BeamResult {
        let scorer = self.scorer(vectors);
        let Scratch { query, packed_query, candidates, shortlist, visited, .. } = scratch;
        let kernels = vectors.space.kernels();
        visited.reset(self.graph.nodes());
        candidates.reset(capacity, kernels);
        let mut termination = EarlyTermination::new(request.k, termination);
        // The search computes few more distances than the list has entries.
        let measured = capacity.saturating_mul(2).max(request.k);
        shortlist.reset(self.shortlist(request).max(termination.head()).min(measured), kernels);
        let mut bridges: Vec<Neighbor> = Vec::new();
        let (mut expanded, mut accepted, mut ahead) = (0, 0, u32::MAX);
        from.into_iter().for_each(|neighbor| _ = candidates.push(neighbor));
        while let Some((_, neighbor)) = candidates.pop_nearest_unexpanded() {
            if !visited.insert(neighbor.id()) {
                continue;
            }
            // A row found just now is prefetched; part of it arrives while the distance is computed.
            if ahead != neighbor.id() {
                packed_neighbors.prefetch(neighbor.id());
            }
            let here = scorer.neighbor(query, neighbor.id());
            // The next candidate is prefetched, unless this row yields a nearer one.
            if let Some(next) = candidates.peek_nearest_unexpanded() {
                ahead = next;
                scorer.prefetch(next);
                packed_neighbors.prefetch(next);
            }
            let is_accepted = accepts(neighbor.id());
            (expanded, accepted) = (expanded + 1, accepted + usize::from(is_accepted));
            if is_accepted && !termination.step(shortlist.push(here)) && accepted >= request.k {
                break;
            }
            let worst = candidates.worst();
            packed_neighbors.estimate_distances(
                neighbor.id(),
                here.distance(),
                worst,
                packed_query,
                kernels,
                |node, estimate| {
                    if visited.contains(node) {
                        return;
                    }
                    if leads(node) {
                        candidates.push(Neighbor::new(estimate, node));
                    } else if bridges.len() < MAX_BRIDGES {
                        packed_neighbors.prefetch(node);
                        bridges.push(Neighbor::new(estimate, node));
                    }
                },
            );
            for bridge in bridges.drain(..) {
                visited.insert(bridge.id());
                packed_neighbors.estimate_distances(
                    bridge.id(),
                    bridge.distance(),
                    candidates.worst(),
                    packed_query,
                    kernels,
                    |node, estimate| {
                        if !visited.contains(node) && leads(node) {
                            candidates.push(Neighbor::new(estimate, node));
                        }
                    },
                );
            }
        }
        BeamResult { expanded, accepted, found: self.rerank(shortlist.neighbors().collect(), request, query, vectors) }
    }

    /// Third form: searches everything and keeps matches. Where these are far from the query, a two-hop search over
    /// matches from seeds follows. None where a scan is cheaper.
    fn search_filtered(
        &self,
        request: &SearchRequest<'_>,
        plan: &GraphPlan,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Option<Vec<Neighbor>> {
        let scorer = self.scorer(vectors);
        let entry_point = self.graph.search_entry_point(&scratch.query, 0, scorer)?;
        // Every node is reachable, so a search within its budget misses no match: it found `ef` of them, or it gave up
        // because a scan is cheaper.
        let most = (plan.ef, plan.sparsity, plan.budget);
        let found = match self.graph.search_layer_filtered(entry_point, most, accepts, scorer, scratch) {
            SearchOutcome::Found(found) => found,
            SearchOutcome::BudgetExceeded => return None,
            SearchOutcome::LowSelectivity if plan.is_scan_fallback => return None,
            SearchOutcome::LowSelectivity => {
                let mut from = self.seeds(NODES_PER_SEED, accepts);
                from.push(entry_point.id());
                let is_complete =
                    self.graph.search_layer_two_hop(&from, (plan.ef, request.matching), accepts, scorer, scratch);
                let found: Vec<Neighbor> = scratch.candidates.neighbors().collect();
                Some(found).filter(|found| is_complete && found.len() >= request.k.min(request.matching))?
            }
        };
        Some(self.rerank(found, request, &scratch.query, vectors))
    }

    /// Accepted nodes from all over the table, after `tests` tests per seed at most.
    fn seeds(&self, tests: usize, accepts: &impl Fn(u32) -> bool) -> Vec<u32> {
        let nodes = self.graph.nodes();
        // Multiples of an odd number modulo a power of two reach every number below it.
        let (mask, mut at) = (nodes.next_power_of_two() - 1, 0_u32);
        let tested = (0..SEEDS * tests).map(|_| {
            at = at.wrapping_add(0x9e37_79b1) & mask;
            at
        });
        let is_in_use = |node: u32| node < nodes && !self.graph.links(node, 0).is_empty();
        tested.filter(|node| is_in_use(*node) && accepts(*node)).take(SEEDS).collect()
    }

    /// Number of nearest nodes by code that are reranked by vector, at most.
    fn shortlist(&self, request: &SearchRequest<'_>) -> usize {
        self.codes.as_ref().map_or(request.k, |codes| request.rerank_count(codes.shortlist(request.k)))
    }

    /// Replaces distances by code (nearest first) with distances by vector.
    fn rerank(
        &self,
        mut found: Vec<Neighbor>,
        request: &SearchRequest<'_>,
        query: &PreparedQuery,
        vectors: Vectors<'_>,
    ) -> Vec<Neighbor> {
        found.truncate(self.shortlist(request));
        if self.codes.is_none() {
            return found;
        }
        request.rerank(found, |sorted| self.scorer(vectors).rerank_cutoff(query, sorted, request.k), vectors)
    }
}
