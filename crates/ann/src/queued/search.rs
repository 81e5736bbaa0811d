//! What a query does: the queue, and the structure or a scan.

use crate::codes::Lot;
use crate::comparison::Comparison;
use crate::filter::Filter;
use crate::index::SearchParams;
use crate::near::{Hit, Near, Nearest};
use crate::space::Space;
use crate::structure::{Ask, Structure, Vectors};

use super::Queued;

/// Points that are compared by their vectors at once when all must be: codes would save nothing.
const FEW: usize = 256;

/// Points from which on a scan by codes begins with sketches of them.
const MANY: usize = 512;

/// Queries for which codes are brought together at once, at least, and at most: what they need stays in a core's cache.
pub(super) const FEWEST_TOGETHER: usize = 32;
const MOST_TOGETHER: usize = 512;

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
            rerank: params.rerank.or(S::with_effort(effort, k).rerank),
            ..S::with_effort(effort, k)
        });
        let points = self.points.len();
        let expected = filter.map_or(points, |filter| filter.expected().min(points));
        let are_compared = params.exact || expected <= FEW;
        let matches = if are_compared { None } else { self.matches(filter, queries.len()) };
        let accepts = |node: u32| match &matches {
            Some(matches) => matches.has(node),
            None => self.is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node))),
        };
        let matching = matches.as_ref().map_or(expected, |matches| matches.nodes.len());
        let (is_filtered, is_matched) = (filter.is_some(), matches.is_some());
        let ask = Ask { query, k, params, points, matching, is_filtered, is_matched, without: None };
        let vectors = Vectors { rows: &self.points.vectors, space };
        let find = |queries: &[&[f32]]| {
            if params.exact {
                vec![None; queries.len()]
            } else {
                self.structure.find_all(&ask, queries, accepts, vectors)
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
                    let known = matches.as_ref().map(|matches| matches.nodes.clone());
                    let nodes = known.unwrap_or_else(|| self.matching_nodes(filter));
                    self.scan(&Ask { query, ..ask }, nodes, vectors, &mut nearest);
                }
            }
            space.hits(nearest.into_sorted())
        };
        let mut found: Vec<Option<Vec<Near>>> = queries.chunks(S::TOGETHER).flat_map(find).collect();
        if let Some(matches) = &matches {
            self.scan_together(&ask, queries, &matches.nodes, vectors, &mut found);
        }
        queries.iter().zip(found).map(answer).collect()
    }

    /// As [`Self::scan`], all codes, for the queries of which nothing is found yet, if there are enough to bring codes together for.
    fn scan_together(
        &self,
        ask: &Ask<'_>,
        queries: &[&[f32]],
        nodes: &[u32],
        vectors: Vectors<'_>,
        found: &mut [Option<Vec<Near>>],
    ) {
        let Some(codes) = self.structure.codes() else { return };
        let mut missing: Vec<_> = queries.iter().zip(found).filter(|(_, found)| found.is_none()).collect();
        if missing.len() < FEWEST_TOGETHER {
            return;
        }
        let mut lot = Lot::default();
        for missing in missing.chunks_mut(MOST_TOGETHER) {
            let compare = |(query, _): &(&&[f32], _)| {
                let comparison = Comparison::new(codes, query, vectors.space);
                let shortlist = Nearest::new(ask.rerank(comparison.shortlist(ask.k)));
                (comparison, shortlist)
            };
            let mut compared: Vec<_> = missing.iter().map(compare).collect();
            for nodes in nodes.chunks(Lot::NODES) {
                codes.gather(nodes, &mut lot);
                compared.iter_mut().for_each(|(comparison, shortlist)| comparison.offer(&mut lot, shortlist));
            }
            for ((query, found), (comparison, shortlist)) in missing.iter_mut().zip(compared) {
                let plausible = |sorted: &[Near]| comparison.plausible(sorted, ask.k);
                **found = Some(Ask { query, ..*ask }.compare_again(shortlist.into_sorted(), plausible, vectors));
            }
        }
    }

    /// Compares with every node that matches: by codes, and the nearest by their vectors.
    fn scan(&self, ask: &Ask<'_>, mut nodes: Vec<u32>, vectors: Vectors<'_>, nearest: &mut Nearest) {
        let Ask { query, k, .. } = *ask;
        let Some(codes) = self.structure.codes() else {
            self.structure.sift(ask, &mut nodes, vectors.space);
            return vectors.each(query, &nodes, |distance, node| self.points.offer(distance, node, nearest));
        };
        let comparison = Comparison::new(codes, query, vectors.space);
        let rerank = ask.rerank(comparison.shortlist(k));
        if nodes.len() >= MANY {
            comparison.sift(&mut nodes, rerank);
        }
        let mut shortlist = Nearest::new(rerank);
        comparison.each(&nodes, |near| shortlist.offer(near));
        let shortlist = ask.compare_again(shortlist.into_sorted(), |sorted| comparison.plausible(sorted, k), vectors);
        shortlist.into_iter().for_each(|near| self.points.offer(near.distance(), near.id(), nearest));
    }
}
