//! What a query does: the queue, and the structure or a scan.

use crate::filter::Filter;
use crate::index::SearchParams;
use crate::near::{Hit, Near, Nearest};
use crate::space::Space;
use crate::structure::{Ask, Scanning, Structure, Vectors};

use super::Queued;
use super::scan::FEWEST_TOGETHER;

/// Points that are compared by their vectors at once when all must be: codes would save nothing.
const FEW: usize = 256;

impl<S: Structure> Queued<S> {
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
        let effort = by_recall.and_then(|recall| self.curve.effort(recall, S::EFFORTS));
        let params = &effort.map_or(*params, |effort| SearchParams {
            exact: params.exact,
            full_scan_bytes: params.full_scan_bytes,
            rerank: params.rerank.or(S::with_effort(effort, k).rerank),
            ..S::with_effort(effort, k)
        });
        let points = self.points.len();
        let expected = filter.map_or(points, |filter| filter.expected().min(points));
        let are_compared = params.exact || expected <= FEW;
        let live = points.saturating_sub(self.hidden());
        let fewest = filter.map_or(live, |filter| filter.fewest().min(live));
        let is_exact = are_compared || fewest <= params.ef.unwrap_or(0).max(self.scanned(params));
        let remembering = filter.filter(|_| !are_compared).map(|filter| (filter, filter.memory(self.edition)));
        let mut asked = 0;
        let matches = remembering.as_ref().and_then(|(filter, memory)| {
            asked = memory.ask(queries.len());
            let is_worth_it = |queries| self.is_worth_matching(filter, queries);
            memory.matches((queries.len(), asked), is_worth_it, || self.matches(filter))
        });
        let accepts = |node: u32| match matches {
            Some(matches) => matches.has(node),
            None => self.is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node))),
        };
        let matching = matches.map_or(expected, |matches| matches.nodes.len());
        let is_filtered = filter.is_some();
        let scanning = match matches {
            None => Scanning::Sketches,
            Some(_) if queries.len() < FEWEST_TOGETHER => Scanning::Packed,
            Some(_) => Scanning::Together,
        };
        let ask = Ask { query, k, params, points, matching, is_filtered, scanning };
        let vectors = Vectors { rows: &self.points.vectors, space };
        let find = |queries: &[&[f32]]| {
            if is_exact {
                vec![None; queries.len()]
            } else {
                let noted = matches.map(|matches| (&matches.noted, asked));
                self.structure.find_all(&ask, queries, accepts, noted, vectors)
            }
        };
        let answer = |(query, found): (&&[f32], Option<Vec<Near>>)| {
            let mut nearest = Nearest::new(k);
            self.queue.scan(&space, query, filter, &mut nearest);
            match found {
                Some(found) => {
                    found.into_iter().for_each(|near| self.points.offer(near.distance(), near.id(), &mut nearest))
                }
                None if are_compared => {
                    self.points.scan(&space, query, filter, |node| self.is_visible(node), &mut nearest);
                }
                None => {
                    let known = matches.map(|matches| matches.nodes.clone());
                    let nodes = known.unwrap_or_else(|| self.matching_nodes(filter));
                    let offer = |distance, node| self.points.offer(distance, node, &mut nearest);
                    let ask = Ask { query, ..ask };
                    if is_exact {
                        self.scan_exactly(&ask, nodes, vectors, offer);
                    } else {
                        self.scan(&ask, nodes, matches.map(|matches| &matches.sketches), vectors, offer);
                    }
                }
            }
            space.hits(nearest.into_sorted())
        };
        let mut found: Vec<Option<Vec<Near>>> = queries.chunks(S::TOGETHER).flat_map(find).collect();
        if let Some(matches) = matches.filter(|_| !is_exact) {
            self.scan_together(&ask, queries, &matches.nodes, vectors, &mut found);
        }
        queries.iter().zip(found).map(answer).collect()
    }

    /// Points that may all be compared.
    fn scanned(&self, params: &SearchParams) -> usize {
        params.full_scan_bytes / self.points.vectors.row_bytes()
    }
}
