//! The navigable graph.
//!
//! - `graph`: who links to whom, on which floor; `tree`: the links that no pruning may cut;
//! - `insert`, `remove`: how a node comes and goes; `beam`: the walk that finding and inserting share;
//! - `search`: what a query does with it.

mod beam;
mod graph;
mod insert;
mod remove;
mod search;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use graph::{Graph, MAX_LEVEL, NO_NODE};

use crate::near::Near;
use crate::points::Points;
use crate::queued::{Ask, Structure, Vectors};
use crate::space::Space;

impl Structure for Graph {
    fn insert(&mut self, node: u32, vectors: Vectors<'_>) {
        self.link_in(node, vectors);
    }

    fn remove(&mut self, node: u32, vectors: Vectors<'_>) {
        self.take_out(node, vectors);
    }

    fn has_work(&self, _: &Points) -> bool {
        false
    }

    fn work(&mut self, _: &Points, _: Space) {}

    fn find(&self, ask: &Ask<'_>, accepts: impl Fn(u32) -> bool, vectors: Vectors<'_>) -> Option<Vec<Near>> {
        self.walk(ask, accepts, vectors)
    }

    fn reached(&self, _: &Points, is_live: impl Fn(u32) -> bool) -> usize {
        self.reached().into_iter().filter(|node| is_live(*node)).count()
    }
}
