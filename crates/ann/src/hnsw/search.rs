//! What a query does with the graph.

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

/// Accepted nodes that a walk begins at, beside where one without a filter would: those that match may all be elsewhere.
const SEEDS: usize = 16;
/// Nodes that are asked for each of them.
const NODES_PER_SEED: usize = 64;
/// The same where those that match must hang together: if fewer do than that, they are not.
const NODES_PER_MATCHING_SEED: usize = 16;
/// Floor from which a walk by rows begins on the lowest: a row judges more nodes than a step of the floor between does.
const ENTRY_LEVEL: usize = 2;
/// Memory of searches, lent to one at a time.
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

/// How a walk by rows goes.
struct BeamParams {
    /// Nodes that it begins at.
    from: Vec<Neighbor>,
    /// Of the nodes that were met, the nearest that are followed.
    capacity: usize,
    /// What [`EarlyTermination`] is for.
    termination: usize,
}

/// What a walk came to.
struct BeamResult {
    expanded: usize,
    /// Those of them that may be told.
    accepted: usize,
    found: Vec<Neighbor>,
}

impl BeamResult {
    /// Whether less than half as many match as should: those that do are elsewhere, or many points wait to be removed.
    fn is_low_selectivity(&self, request: &SearchRequest<'_>) -> bool {
        2 * self.accepted.saturating_mul(request.points) < self.expanded.saturating_mul(request.matching)
    }
}

impl Hnsw {
    /// The nearest nodes; none where a scan is cheaper, by the estimate or by what the walk met.
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

    /// Everything is accepted on the way, and what must not be told is left out at its end.
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
        // Of the nearest of all, those that hold as many that match as are wanted.
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

    /// As [`Self::search_links`], by estimates of all links of a node at once; the nodes it follows are measured.
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
        // What does not match is no news, and no lack of them.
        let beam = BeamParams { from: from.into_iter().collect(), capacity: request.spread(ef), termination: ef };
        self.search_packed_layer(rows, request, beam, |_| true, accepts, vectors, scratch)
    }

    /// Walks over those that match alone, and bridges between them; from those that were found, where a walk found that most are
    /// elsewhere. None where its beam would be too wide, or too few match.
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

    /// Follows the nearest of the nodes that may be walked over.
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
        // A walk measures little more than it has places.
        let measured = capacity.saturating_mul(2).max(request.k);
        shortlist.reset(self.shortlist(request).max(termination.head()).min(measured), kernels);
        let mut bridges: Vec<Neighbor> = Vec::new();
        let (mut expanded, mut accepted, mut ahead) = (0, 0, u32::MAX);
        from.into_iter().for_each(|neighbor| _ = candidates.push(neighbor));
        while let Some((_, neighbor)) = candidates.pop_nearest_unexpanded() {
            if !visited.insert(neighbor.id()) {
                continue;
            }
            // If it was met just now; by the time it is measured some of it is there.
            if ahead != neighbor.id() {
                packed_neighbors.prefetch(neighbor.id());
            }
            let here = scorer.neighbor(query, neighbor.id());
            // Whoever comes next, unless something nearer is met now, is fetched meanwhile.
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

    /// Walks over everything and keeps what matches; where that turns out to be elsewhere, over what matches alone, from wherever
    /// it is. None where a scan is cheaper.
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
        // Every node can be reached, so a walk that ends within its budget is short of nothing that matches: it has seen
        // `ef` that match, or so many that a scan is cheaper and gave up.
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

    /// Some accepted nodes, from all over the table, where `asked` nodes for each hold so many.
    fn seeds(&self, tests: usize, accepts: &impl Fn(u32) -> bool) -> Vec<u32> {
        let nodes = self.graph.nodes();
        // Multiples of an odd number, below a power of two, come to all numbers below it.
        let (mask, mut at) = (nodes.next_power_of_two() - 1, 0_u32);
        let tested = (0..SEEDS * tests).map(|_| {
            at = at.wrapping_add(0x9e37_79b1) & mask;
            at
        });
        let is_in_use = |node: u32| node < nodes && !self.graph.links(node, 0).is_empty();
        tested.filter(|node| is_in_use(*node) && accepts(*node)).take(SEEDS).collect()
    }

    /// How many of the nearest by codes are compared by their vectors, at most.
    fn shortlist(&self, request: &SearchRequest<'_>) -> usize {
        self.codes.as_ref().map_or(request.k, |codes| request.rerank_count(codes.shortlist(request.k)))
    }

    /// The nearest of those that were found (nearest first), by their vectors in place of codes.
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
