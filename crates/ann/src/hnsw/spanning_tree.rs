//! Why every point can be reached.
//!
//! Pruning by diversity alone leaves nodes that nothing links to. So each node but one (the root) hangs on a **parent**:
//! a node that is older, whatever happens. The links between a node and its parent exist on floor 0 in both directions
//! and are never pruned. Parents are older, so there is no circle; so every chain of parents ends at the root; so the
//! links of the tree alone lead from any node to any other.
//!
//! A node carries at most `m` children, so with its parent they take at most `m + 1` of its `2 m` links, and the graph
//! keeps its choice of the others. The parent is the nearest older node that has room: mostly a link that diversity
//! would have kept anyway.

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

    /// The nodes that hang on `node`, in the order of its links.
    pub(super) fn children_of(&self, node: u32) -> Vec<u32> {
        self.links(node, 0).iter().copied().filter(|x| self.parent[*x as usize] == node).collect()
    }

    /// Hangs `subtree` on `at` or below it; `at` is older than `subtree`.
    ///
    /// Where there is no room it walks down through children that are older than the orphan. Where all are younger, the
    /// orphan takes the place of the youngest, which becomes the orphan, below the one that took its place. Ends,
    /// because a walk goes down a tree and orphans grow younger.
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

    /// Makes a node an orphan; the links stay, as links like others.
    pub(super) fn detach(&mut self, child: u32) {
        let parent = std::mem::replace(&mut self.parent[child as usize], NO_NODE);
        if parent != NO_NODE {
            self.children[parent as usize] -= 1;
        }
    }

    /// Counts the children after a snapshot was read; false if the tree does not hold.
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
