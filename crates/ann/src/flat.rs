//! Exact search: every point is compared.

use crate::filter::Filter;
use crate::metric::Space;
use crate::neighbor::{Hit, TopK};
use crate::storage::points::Points;

/// Points without an index. Writes take effect at once, so nothing is ever pending.
pub(crate) struct Flat {
    pub points: Points,
}

impl Flat {
    pub fn upsert(&mut self, slot: u32, vector: &[f32]) {
        match self.points.node_of(slot) {
            Some(node) => self.points.vectors.put(node, vector),
            None => {
                self.points.insert(slot, vector);
            }
        }
    }

    pub fn delete(&mut self, slot: u32) -> bool {
        self.points.remove(slot).is_some()
    }

    pub fn search(&self, space: &Space, query: &[f32], k: usize, filter: Option<&Filter<'_>>) -> Vec<Hit> {
        let mut nearest = TopK::new(k);
        self.points.scan(space, query, filter, |_| true, &mut nearest);
        space.hits(nearest.into_sorted())
    }
}
