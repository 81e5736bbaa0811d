//! How a node leaves the graph.

use super::graph::{Graph, NO_NODE};
use super::measure::{Measure, Target};

impl Graph {
    /// Takes a node out at once: nothing links to it afterwards, and those that hung on it hang on others. Every link that is lost
    /// is replaced by one: who linked to it links to the nearest of its links in exchange, and each of these is linked to by the
    /// nearest of all around it (as in IP-DiskANN, arXiv 2502.13826, which offers three each: here they crowd out links
    /// that lead further). Its vector and code must still be in their rows.
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
            for peer in &into {
                self.link_nearest(*peer, floor, &out, measure, target);
            }
            let mut around = [out.as_slice(), &into].concat();
            around.sort_unstable();
            around.dedup();
            for peer in &out {
                self.link_from_nearest(*peer, floor, &around, measure, target);
            }
        }
        self.vacate(node);
        self.rehang(orphans, parent, measure, target);
    }

    /// Links a node to the nearest of some that it does not link to.
    fn link_nearest(&mut self, node: u32, floor: usize, some: &[u32], measure: Measure<'_>, target: &mut Target) {
        let links = self.links(node, floor);
        let fresh = some.iter().copied().filter(|x| *x != node && !links.contains(x));
        if let Some(nearest) = measure.nearest(node, fresh, target) {
            self.relink(node, floor, &[nearest], measure, target);
        }
    }

    /// Links the nearest of some that do not link to a node to it.
    fn link_from_nearest(&mut self, node: u32, floor: usize, some: &[u32], measure: Measure<'_>, target: &mut Target) {
        let fresh = some.iter().copied().filter(|x| *x != node && !self.links(*x, floor).contains(&node));
        if let Some(nearest) = measure.nearest(node, fresh, target) {
            self.relink(nearest, floor, &[node], measure, target);
        }
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
            let best = measure.nearest(orphan, around.filter(fits), target);
            self.adopt(orphan, best.unwrap_or(fallback), measure, target);
        }
    }
}
