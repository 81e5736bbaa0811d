//! How a node leaves the graph.

use super::graph::{Graph, NO_NODE};
use super::scorer::{PreparedQuery, Scorer};

impl Graph {
    /// Takes a node out at once: nothing links to it afterwards, and those that hung on it hang on others. Every link that is lost
    /// is replaced by one: who linked to it links to the nearest of its links in exchange, and each of these is linked to by the
    /// nearest of all around it (as in IP-DiskANN, arXiv 2502.13826, which offers three each: here they crowd out links
    /// that lead further). Its vector and code must still be in their rows.
    pub fn delete(&mut self, node: u32, scorer: Scorer<'_>, query: &mut PreparedQuery) {
        let mut detached = self.children_of(node);
        detached.sort_unstable_by_key(|subtree| self.insert_seq[*subtree as usize]);
        detached.iter().for_each(|subtree| self.detach(*subtree));
        let parent = self.parent[node as usize];
        self.detach(node);
        for level in 0..=self.level(node) {
            let out = self.links(node, level).to_vec();
            let into = self.incoming(node, level);
            self.set_links(node, level, &[]);
            for peer in &into {
                let rest: Vec<u32> = self.links(*peer, level).iter().copied().filter(|x| *x != node).collect();
                self.set_links(*peer, level, &rest);
            }
            for peer in &into {
                self.link_nearest(*peer, level, &out, scorer, query);
            }
            let mut surrounding = [out.as_slice(), &into].concat();
            surrounding.sort_unstable();
            surrounding.dedup();
            for peer in &out {
                self.link_from_nearest(*peer, level, &surrounding, scorer, query);
            }
        }
        self.free_node(node);
        self.reparent(detached, parent, scorer, query);
    }

    /// Links a node to the nearest of some that it does not link to.
    fn link_nearest(&mut self, node: u32, level: usize, some: &[u32], scorer: Scorer<'_>, query: &mut PreparedQuery) {
        let links = self.links(node, level);
        let fresh = some.iter().copied().filter(|x| *x != node && !links.contains(x));
        if let Some(nearest) = scorer.nearest(node, fresh, query) {
            self.connect_with_pruning(node, level, &[nearest], scorer, query);
        }
    }

    /// Links the nearest of some that do not link to a node to it.
    fn link_from_nearest(
        &mut self,
        node: u32,
        level: usize,
        some: &[u32],
        scorer: Scorer<'_>,
        query: &mut PreparedQuery,
    ) {
        let fresh = some.iter().copied().filter(|x| *x != node && !self.links(*x, level).contains(&node));
        if let Some(nearest) = scorer.nearest(node, fresh, query) {
            self.connect_with_pruning(nearest, level, &[node], scorer, query);
        }
    }

    /// Finds parents for the children of a node that left, oldest first; without a grandparent (the root left) the
    /// oldest child, which is then the oldest of all nodes, becomes the root.
    fn reparent(&mut self, detached: Vec<u32>, grandparent: u32, scorer: Scorer<'_>, query: &mut PreparedQuery) {
        let mut fallback = grandparent;
        for subtree in detached {
            if fallback == NO_NODE {
                fallback = subtree;
                continue;
            }
            let fits = |x: &u32| self.is_older(*x, subtree) && self.has_child_capacity(*x);
            let surrounding = self.links(subtree, 0).iter().copied().chain([fallback]);
            let best = scorer.nearest(subtree, surrounding.filter(fits), query);
            self.attach_subtree(subtree, best.unwrap_or(fallback), scorer, query);
        }
    }
}
