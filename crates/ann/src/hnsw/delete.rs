//! Deletes of nodes.

use super::graph::{Graph, NO_NODE};
use super::scorer::{PreparedQuery, Scorer};

impl Graph {
    /// Deletes a node at once: afterwards nothing links to it, and its children have other parents. Every lost link is
    /// replaced by one. Each node that linked to it links to the nearest of its links; each of its links is linked to
    /// by the nearest of all nodes around it. (IP-DiskANN, arXiv 2502.13826, adds three links each; here they displace
    /// links that lead further.) Vector and code of the node must still be stored.
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

    /// Links a node to the nearest of some nodes that it does not link to.
    fn link_nearest(&mut self, node: u32, level: usize, some: &[u32], scorer: Scorer<'_>, query: &mut PreparedQuery) {
        let links = self.links(node, level);
        let fresh = some.iter().copied().filter(|x| *x != node && !links.contains(x));
        if let Some(nearest) = scorer.nearest(node, fresh, query) {
            self.connect_with_pruning(node, level, &[nearest], scorer, query);
        }
    }

    /// Links the nearest of some nodes, which does not link to a node yet, to it.
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

    /// Finds parents for the detached children of a deleted node, oldest first. Without a grandparent (the root was
    /// deleted) the oldest child becomes the root: it is then the oldest of all nodes.
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
