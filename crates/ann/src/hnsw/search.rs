//! What a query does with the graph.

use crate::near::Near;
use crate::queued::{Ask, Vectors};

use super::beam::{Scratch, Walk};
use super::graph::Graph;

/// Distances that a walk computes for each place of its beam, about: what the plan weighs against a scan.
const COST_OF_A_PLACE: usize = 16;

impl Graph {
    /// The nearest nodes; none where a scan is cheaper, by the estimate or by what the walk met.
    pub(super) fn walk(&self, ask: &Ask<'_>, accepts: impl Fn(u32) -> bool, vectors: Vectors<'_>) -> Option<Vec<Near>> {
        let Ask { query, points, matching, .. } = *ask;
        let ef = ask.params.ef.unwrap_or(self.ef_construct).max(ask.k);
        // A walk meets `matching / points` accepted nodes a step, so it costs about `16 ef points / matching` distances; a
        // scan costs `matching`.
        if matching.saturating_mul(matching) <= ef.saturating_mul(COST_OF_A_PLACE).saturating_mul(points) {
            return None;
        }
        let entry = self.entry?;
        let mut at = Near::new(vectors.to(query, entry), entry);
        for floor in (1..=self.level(entry)).rev() {
            at = self.descend(query, at, floor, vectors);
        }
        let walk = Walk { floor: 0, ef, budget: points / 2 };
        // Every node can be reached, so a walk that ends within its budget is short of nothing that matches: it has seen
        // `ef` that match, or more than half of all and gave up.
        self.beam(query, &[at], walk, accepts, vectors, &mut Scratch::default())
    }
}
