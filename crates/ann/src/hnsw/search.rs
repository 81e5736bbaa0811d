//! What a query does with the graph and the queue.

use crate::filter::Filter;
use crate::near::{Near, Nearest};
use crate::space::Space;

use super::beam::{Scratch, Walk};
use super::{Hnsw, Vectors};

/// Distances that a walk computes for each place of its beam, about: what the plan weighs against a scan.
const COST_OF_A_PLACE: usize = 16;

impl Hnsw {
    /// The `k` nearest slots; `ef` is the width of the beam, `k` at least.
    pub fn search(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        ef: Option<usize>,
        filter: Option<&Filter<'_>>,
    ) -> Vec<Near> {
        let mut nearest = Nearest::new(k);
        self.queue.scan(&space, query, filter, &mut nearest);
        let walked = ef.and_then(|ef| self.walk(space, query, ef.max(k), filter));
        match walked {
            Some(found) => found.into_iter().for_each(|near| {
                nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
            }),
            None => self.points.scan(&space, query, filter, |node| !self.hidden[node as usize], &mut nearest),
        }
        nearest.into_sorted()
    }

    /// The nearest nodes of the graph; none where a scan is cheaper, by the estimate or by what the walk met.
    fn walk(&self, space: Space, query: &[f32], ef: usize, filter: Option<&Filter<'_>>) -> Option<Vec<Near>> {
        let points = self.points.len();
        let matching = filter.map_or(points, |filter| filter.expected().min(points));
        // A walk meets `matching / points` accepted nodes a step, so it costs about `16 ef points / matching` distances; a
        // scan costs `matching`.
        if matching.saturating_mul(matching) <= ef.saturating_mul(COST_OF_A_PLACE).saturating_mul(points) {
            return None;
        }
        let entry = self.graph.entry?;
        let vectors = Vectors { rows: &self.points.vectors, space };
        let mut at = Near::new(vectors.to(query, entry), entry);
        for floor in (1..=self.graph.level(entry)).rev() {
            at = self.graph.descend(query, at, floor, vectors);
        }
        let accepts = |node: u32| {
            !self.hidden[node as usize] && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node)))
        };
        let walk = Walk { floor: 0, ef, budget: points / 2 };
        // Every node can be reached, so a walk that ends within its budget is short of nothing that matches: it has seen
        // `ef` that match, or more than half of all and gave up.
        self.graph.beam(query, &[at], walk, accepts, vectors, &mut Scratch::default())
    }
}
