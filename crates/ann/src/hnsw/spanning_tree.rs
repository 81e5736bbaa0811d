//! The spanning tree, by which every node is reachable.
//!
//! Pruning by diversity alone leaves nodes without incoming links. Therefore each node except one, the root, has a
//! **parent**, which is always an older node. A node and its parent link to each other on level 0, and pruning keeps
//! these links. Parents are older, so there are no cycles and every chain of parents ends at the root. So tree links
//! alone connect all nodes.
//!
//! A node has at most `m` children, so tree links take at most `m + 1` of its `2 m` links, and the heuristic selects
//! the others. The parent is the nearest older node with less than `m` children, mostly a link that the heuristic would
//! have kept anyway.

use super::graph::{Graph, NO_NODE};
use super::scorer::{PreparedQuery, Scorer};

impl Graph {
    pub(super) fn is_tree_link(&self, a: u32, b: u32) -> bool {
        self.parent[a as usize] == b || self.parent[b as usize] == a
    }

    pub(super) fn is_older(&self, a: u32, b: u32) -> bool {
        self.insert_seq[a as usize] < self.insert_seq[b as usize]
    }

    pub(super) fn has_child_capacity(&self, node: u32) -> bool {
        usize::from(self.children[node as usize]) < self.m
    }

    /// Children of `node`, in the order of its links.
    pub(super) fn children_of(&self, node: u32) -> Vec<u32> {
        self.links(node, 0).iter().copied().filter(|x| self.parent[*x as usize] == node).collect()
    }

    /// Attaches `subtree` (its root) to `at` or below it; `at` must be older.
    ///
    /// If `at` has `m` children, the search for a parent descends to the nearest child that is older than the subtree.
    /// If all children are younger, the subtree takes the place of the youngest, which is then attached below it. This
    /// terminates: each round descends the tree or continues with a younger node.
    pub(super) fn attach_subtree(
        &mut self,
        mut subtree: u32,
        mut at: u32,
        scorer: Scorer<'_>,
        query: &mut PreparedQuery,
    ) {
        loop {
            debug_assert!(self.is_older(at, subtree), "a parent must be older");
            if self.has_child_capacity(at) {
                return self.attach(subtree, at, scorer, query);
            }
            let children = self.children_of(at);
            let older = children.iter().copied().filter(|child| self.is_older(*child, subtree));
            if let Some(nearest) = scorer.nearest(subtree, older, query) {
                at = nearest;
            } else {
                let youngest = children.into_iter().max_by_key(|child| self.insert_seq[*child as usize]);
                let youngest = youngest.expect("a node at its maximum has children");
                self.detach(youngest);
                self.attach(subtree, at, scorer, query);
                (at, subtree) = (subtree, youngest);
            }
        }
    }

    fn attach(&mut self, child: u32, parent: u32, scorer: Scorer<'_>, query: &mut PreparedQuery) {
        self.parent[child as usize] = parent;
        self.children[parent as usize] += 1;
        self.connect_with_pruning(parent, 0, &[child], scorer, query);
        self.connect_with_pruning(child, 0, &[parent], scorer, query);
    }

    /// Detaches a node from its parent; the links remain as ordinary ones.
    pub(super) fn detach(&mut self, child: u32) {
        let parent = std::mem::replace(&mut self.parent[child as usize], NO_NODE);
        if parent != NO_NODE {
            self.children[parent as usize] -= 1;
        }
    }

    /// Counts children after reading a snapshot; false if the tree is invalid.
    pub(super) fn restore_tree(&mut self) -> bool {
        let mut roots = 0;
        for node in 0..self.nodes() {
            if self.insert_seq[node as usize] == 0 {
                continue;
            }
            let parent = self.parent[node as usize];
            if parent == NO_NODE {
                roots += 1;
                continue;
            }
            let stands = parent < self.nodes()
                && self.insert_seq[parent as usize] != 0
                && self.is_older(parent, node)
                && self.has_child_capacity(parent)
                && self.links(node, 0).contains(&parent)
                && self.links(parent, 0).contains(&node);
            if !stands {
                return false;
            }
            self.children[parent as usize] += 1;
        }
        roots == usize::from(self.entry.is_some())
    }
}
