//! How a node comes into the graph.

use crate::near::Near;

use super::Vectors;
use super::beam::Walk;
use super::graph::{Graph, choose_diverse};

impl Graph {
    /// Links a new node (Alg. 1). Its vector is in its row already; `node` is free, or the next new one.
    pub fn link_in(&mut self, node: u32, vectors: Vectors<'_>) {
        let level = self.occupy(node);
        let Some(entry) = self.entry else {
            self.entry = Some(node);
            return;
        };
        let query = vectors.row(node);
        let top = self.level(entry);
        let mut nearest = Near::new(vectors.to(query, entry), entry);
        for floor in (level + 1..=top).rev() {
            nearest = self.descend(query, nearest, floor, vectors);
        }
        let mut from = vec![nearest];
        let mut scratch = std::mem::take(&mut self.scratch);
        for floor in (0..=level.min(top)).rev() {
            let walk = Walk { floor, ef: self.ef_construct, budget: usize::MAX };
            let found = self.beam(query, &from, walk, |_| true, vectors, &mut scratch);
            from = found.expect("the budget is without limit");
            self.link(node, floor, &from, vectors);
        }
        self.scratch = scratch;
        if level > top {
            self.entry = Some(node);
        }
    }

    /// Links a node in both directions with a diverse choice of what was found; on floor 0 also gives it a parent.
    fn link(&mut self, node: u32, floor: usize, found: &[Near], vectors: Vectors<'_>) {
        let mut chosen = Vec::with_capacity(self.m);
        choose_diverse(found, self.m, vectors, &mut chosen);
        let chosen: Vec<u32> = chosen.iter().map(|near| near.id()).collect();
        if floor == 0 {
            let with_room = found.iter().find(|near| self.has_room(near.id()));
            let parent = with_room.or(found.first()).expect("a walk finds at least where it began");
            self.adopt(node, parent.id(), vectors);
        }
        self.relink(node, floor, &chosen, vectors);
        for peer in chosen {
            self.relink(peer, floor, &[node], vectors);
        }
    }
}
