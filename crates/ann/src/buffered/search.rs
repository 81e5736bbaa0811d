//! Execution of queries: the write buffer, and the index or a scan, as the planner decides.

use crate::approximate_index::RecallTunable;
use crate::filter::Filter;
use crate::metric::Space;
use crate::neighbor::{Hit, Neighbor, TopK};
use crate::params::SearchParams;
use crate::planner::{self, Execution};
use crate::search_request::SearchRequest;
use crate::storage::vector_store::Vectors;

use super::BufferedIndex;

impl<S: RecallTunable> BufferedIndex<S> {
    /// The `k` nearest points of each query.
    pub fn search(
        &self,
        space: Space,
        queries: &[&[f32]],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Vec<Vec<Hit>> {
        let Some(query) = queries.first() else { return Vec::new() };
        let by_recall = params.recall.filter(|_| params.ef.is_none() && params.nprobe.is_none());
        let effort = by_recall.and_then(|recall| self.recall_model.effort(recall, S::EFFORTS));
        let params = &effort.map_or(*params, |effort| SearchParams {
            exact: params.exact,
            full_scan_bytes: params.full_scan_bytes,
            rerank: params.rerank.or(S::params_for_effort(effort, k).rerank),
            ..S::params_for_effort(effort, k)
        });
        let points = self.points.len();
        let expected = filter.map_or(points, |filter| filter.expected().min(points));
        let live = points.saturating_sub(self.hidden());
        let fewest = filter.map_or(live, |filter| filter.fewest().min(live));
        let execution = planner::execution(params, expected, fewest, self.points.vectors.row_bytes());
        let compares_vectors = execution == Execution::CompareVectors;
        let is_exact = execution != Execution::Search;
        let filter_state = filter.filter(|_| !compares_vectors).map(|filter| (filter, filter.state(self.revision)));
        let mut sharing = 0;
        let matches = filter_state.as_ref().and_then(|(filter, state)| {
            sharing = state.add_queries(queries.len());
            let is_worth_it = |queries| planner::is_worth_sharing(points, filter.listed().is_some(), queries);
            state.matches((queries.len(), sharing), is_worth_it, || self.matching_set(filter))
        });
        let accepts = |node: u32| match matches {
            Some(matches) => matches.contains(node),
            None => self.is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node))),
        };
        let matching = matches.map_or(expected, |matches| matches.nodes.len());
        let is_filtered = filter.is_some();
        let scanning = planner::scan_mode(matches.is_some(), queries.len());
        let request = SearchRequest { query, k, params, points, matching, is_filtered, scanning };
        let vectors = Vectors { rows: &self.points.vectors, space };
        let find = |queries: &[&[f32]]| {
            if is_exact {
                vec![None; queries.len()]
            } else {
                let cache = matches.map(|matches| (&matches.cache, sharing));
                self.index.search_all(&request, queries, accepts, cache, vectors)
            }
        };
        let answer = |(query, found): (&&[f32], Option<Vec<Neighbor>>)| {
            let mut nearest = TopK::new(k);
            self.buffer.scan(&space, query, filter, &mut nearest);
            match found {
                Some(found) => found
                    .into_iter()
                    .for_each(|neighbor| self.points.push_hit(neighbor.distance(), neighbor.id(), &mut nearest)),
                None if compares_vectors => {
                    self.points.scan(&space, query, filter, |node| self.is_visible(node), &mut nearest);
                }
                None => {
                    let known = matches.map(|matches| matches.nodes.clone());
                    let nodes = known.unwrap_or_else(|| self.matching_nodes(filter));
                    let push = |distance, node| self.points.push_hit(distance, node, &mut nearest);
                    let request = SearchRequest { query, ..request };
                    if is_exact {
                        self.scan_exactly(&request, nodes, vectors, push);
                    } else {
                        self.scan(&request, nodes, matches.map(|matches| &matches.binary_codes), vectors, push);
                    }
                }
            }
            space.hits(nearest.into_sorted())
        };
        let mut found: Vec<Option<Vec<Neighbor>>> = queries.chunks(S::BATCH_SIZE).flat_map(find).collect();
        if let Some(matches) = matches.filter(|_| !is_exact) {
            self.scan_batched(&request, queries, &matches.nodes, vectors, &mut found);
        }
        queries.iter().zip(found).map(answer).collect()
    }
}
