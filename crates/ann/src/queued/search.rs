//! What a query does: the queue, and the structure or a scan.

use crate::filter::Filter;
use crate::index::SearchParams;
use crate::near::{Near, Nearest, reach};
use crate::space::Space;
use crate::structure::{Ask, Comparison, Structure, Vectors};

use super::Queued;

/// Points that are compared by their vectors at once when all must be: codes would save nothing.
const FEW: usize = 256;

/// Points from which on a scan by codes begins with sketches of them.
const MANY: usize = 512;

/// Codes asked for before the one that is compared.
const CODES_AHEAD: usize = 8;

impl<S: Structure> Queued<S> {
    /// The `k` nearest slots.
    pub fn search(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Vec<Near> {
        let by_recall = params.recall.filter(|_| params.ef.is_none() && params.nprobe.is_none());
        let effort = by_recall.and_then(|recall| self.curve.effort(recall, S::EFFORTS));
        let params = &effort.map_or(*params, |effort| SearchParams {
            exact: params.exact,
            rerank: params.rerank.or(S::with_effort(effort, k).rerank),
            ..S::with_effort(effort, k)
        });
        let mut nearest = Nearest::new(k);
        self.queue.scan(&space, query, filter, &mut nearest);
        let is_visible = |node: u32| !self.hidden[node as usize];
        let accepts =
            |node: u32| is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node)));
        let points = self.points.len();
        let matching = filter.map_or(points, |filter| filter.expected().min(points));
        let found = if params.exact {
            None
        } else {
            let ask = Ask { query, k, params, points, matching, is_filtered: filter.is_some(), except: None };
            self.structure.find(&ask, accepts, Vectors { rows: &self.points.vectors, space })
        };
        match found {
            Some(found) => found.into_iter().for_each(|near| {
                nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
            }),
            None if params.exact || matching <= FEW => {
                self.points.scan(&space, query, filter, is_visible, &mut nearest);
            }
            None => self.scan(space, query, k, params, filter, &mut nearest),
        }
        nearest.into_sorted()
    }

    /// Compares with every point that matches: by codes, and the nearest by their vectors.
    fn scan(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
        nearest: &mut Nearest,
    ) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        let is_visible = |node: u32| !self.hidden[node as usize];
        let Some(comparison) = self.structure.comparison(query, vectors) else {
            return self.points.scan(&space, query, filter, is_visible, nearest);
        };
        let rerank = params.rerank.unwrap_or(comparison.shortlist(k)).max(k);
        let mut nodes = Vec::new();
        self.points.each(filter, |_, node| {
            if is_visible(node) {
                nodes.push(node);
            }
        });
        if nodes.len() >= MANY.max(rerank) {
            let mut sketched = Vec::with_capacity(nodes.len());
            let fetch = |node| comparison.prefetch_sketch(node);
            each_fetched(&nodes, fetch, |node| sketched.push(Near::new(comparison.sketch(node), node)));
            let (_, last, _) = sketched.select_nth_unstable(rerank - 1);
            let worst = reach(last.distance(), comparison.sketch_slack(last.id()));
            nodes.clear();
            nodes.extend(sketched.iter().filter(|near| near.distance() <= worst).map(|near| near.id()));
        }
        let mut shortlist = Nearest::new(rerank);
        let fetch = |node| comparison.prefetch(node);
        each_fetched(&nodes, fetch, |node| shortlist.offer(Near::new(comparison.distance(node), node)));
        let mut shortlist = shortlist.into_sorted();
        if params.rerank.is_none() {
            shortlist.truncate(comparison.plausible(&shortlist, k));
        }
        vectors.compare_again(query, &mut shortlist);
        for near in shortlist {
            nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
        }
    }
}

/// Visits all of them, each some while after it was fetched.
fn each_fetched(nodes: &[u32], fetch: impl Fn(u32), mut visit: impl FnMut(u32)) {
    for (at, node) in nodes.iter().enumerate() {
        nodes.get(at + CODES_AHEAD).into_iter().for_each(|next| fetch(*next));
        visit(*node);
    }
}
