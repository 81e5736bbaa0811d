//! How a node leaves the graph.

use super::graph::{Graph, NO_NODE};
use super::measure::{Measure, Target};

/// Links offered to each node that loses one: IP-DiskANN (arXiv 2502.13826) finds 3 enough.
const REPLACEMENTS: usize = 3;

impl Graph {
    /// Takes a node out at once: nothing links to it afterwards, those that did are offered the nearest of its links in
    /// exchange, and those that hung on it hang on others. Its vector and code must still be in their rows.
    pub fn take_out(&mut self, node: u32, measure: Measure<'_>, target: &mut Target) {
        let mut orphans = self.children_of(node);
        orphans.sort_unstable_by_key(|orphan| self.birth[*orphan as usize]);
        orphans.iter().for_each(|orphan| self.detach(*orphan));
        let parent = self.parent[node as usize];
        self.detach(node);
        for floor in 0..=self.level(node) {
            let out = self.links(node, floor).to_vec();
            let into = self.incoming(node, floor);
            self.set_links(node, floor, &[]);
            for peer in &into {
                let rest: Vec<u32> = self.links(*peer, floor).iter().copied().filter(|x| *x != node).collect();
                self.set_links(*peer, floor, &rest);
            }
            for peer in into {
                self.mend(peer, floor, &out, measure, target);
            }
        }
        self.vacate(node);
        self.rehang(orphans, parent, measure, target);
    }

    fn mend(&mut self, peer: u32, floor: usize, offered: &[u32], measure: Measure<'_>, target: &mut Target) {
        let linked = self.links(peer, floor);
        let fresh = offered.iter().copied().filter(|x| *x != peer && !linked.contains(x));
        let nears = measure.sorted(peer, fresh, target);
        let best: Vec<u32> = nears.iter().take(REPLACEMENTS).map(|near| near.id()).collect();
        self.relink(peer, floor, &best, measure, target);
    }

    /// Finds parents for the children of a node that left, oldest first; without a grandparent (the root left) the
    /// oldest child, which is then the oldest of all nodes, becomes the root.
    fn rehang(&mut self, orphans: Vec<u32>, grandparent: u32, measure: Measure<'_>, target: &mut Target) {
        let mut fallback = grandparent;
        for orphan in orphans {
            if fallback == NO_NODE {
                fallback = orphan;
                continue;
            }
            let fits = |x: &u32| self.is_older(*x, orphan) && self.has_room(*x);
            let around = self.links(orphan, 0).iter().copied().chain([fallback]);
            let best = measure.sorted(orphan, around.filter(fits), target);
            self.adopt(orphan, best.first().map_or(fallback, |near| near.id()), measure, target);
        }
    }
}
