//! The navigable graph with its queue of writes.
//!
//! - `queue`: writes that the graph does not hold yet, by blocks, scanned exactly;
//! - `graph`: who links to whom, on which floor; `tree`: the links that no pruning may cut;
//! - `insert`, `remove`: how a node comes and goes; `beam`: the walk that finding and inserting share;
//! - `search`: what a query does with all of it.

mod beam;
mod graph;
mod insert;
mod queue;
mod remove;
mod search;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use graph::{Graph, MAX_LEVEL, NO_NODE};
pub(crate) use queue::{BLOCK, Queue};

use crate::memory::Rows;
use crate::points::Points;
use crate::space::Space;
use beam::Scratch;

/// Queued operations from which on every write also merges, two steps a write, so that the queue stays bounded even if
/// nobody calls [`Hnsw::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
const QUEUE_LIMIT: usize = 32 * BLOCK;

/// Vectors of nodes with the distance between them.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub rows: &'a Rows<f32>,
    pub space: Space,
}

impl<'a> Vectors<'a> {
    pub fn row(&self, node: u32) -> &'a [f32] {
        self.rows.row(node)
    }

    #[inline]
    pub fn to(&self, query: &[f32], node: u32) -> f32 {
        self.space.distance(query, self.rows.row(node))
    }

    #[inline]
    pub fn between(&self, a: u32, b: u32) -> f32 {
        self.space.distance(self.rows.row(a), self.rows.row(b))
    }
}

/// Points in a graph, and the queue in front of it.
///
/// Two views of a slot exist: the graph's (`points`), which is behind, and the newest (`queue`, where it knows the slot,
/// else the graph's). A node is hidden while the queue knows its slot: the graph walks over it, and returns it never.
pub(crate) struct Hnsw {
    pub points: Points,
    pub graph: Graph,
    pub queue: Queue,
    /// By node; derived from `queue`. Building never looks at it: it depends on when merges happen.
    hidden: Vec<bool>,
    /// Slots that hold a point in the newest view.
    live: usize,
    scratch: Scratch,
}

impl Hnsw {
    pub fn new(dim: usize, graph: Graph) -> Self {
        Self::from_parts(Points::new(dim), graph, Queue::new(dim))
    }

    /// Puts the parts of a snapshot together and derives the rest.
    pub fn from_parts(points: Points, graph: Graph, queue: Queue) -> Self {
        let hidden: Vec<bool> = (0..points.nodes()).map(|node| queue.knows(points.slot_of(node))).collect();
        let hidden_points = hidden.iter().filter(|hidden| **hidden).count();
        let live = points.len() - hidden_points + queue.live();
        Self { points, graph, queue, hidden, live, scratch: Scratch::default() }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Points that the graph walks over and does not return.
    pub fn hidden(&self) -> usize {
        self.hidden.iter().filter(|hidden| **hidden).count()
    }

    pub fn vector(&self, slot: u32) -> Option<&[f32]> {
        match self.queue.newest(slot) {
            Some(queued) => queued,
            None => self.points.vector(slot),
        }
    }

    pub fn upsert(&mut self, slot: u32, vector: &[f32], space: Space) {
        self.live += usize::from(self.vector(slot).is_none());
        self.push(slot, Some(vector), space);
    }

    pub fn delete(&mut self, slot: u32, space: Space) -> bool {
        if self.vector(slot).is_none() {
            return false;
        }
        self.live -= 1;
        self.push(slot, None, space);
        true
    }

    fn push(&mut self, slot: u32, vector: Option<&[f32]>, space: Space) {
        if let Some(node) = self.points.node_of(slot) {
            self.hidden[node as usize] = true;
        }
        self.queue.push(slot, vector);
        if self.queue.pending() > QUEUE_LIMIT {
            self.merge(2, space);
        }
    }

    /// Takes up to `most` steps; returns how many were taken, less than `most` when only an open block is left.
    pub fn merge(&mut self, most: usize, space: Space) -> usize {
        (0..most).take_while(|_| self.merge_one(space)).count()
    }

    fn merge_one(&mut self, space: Space) -> bool {
        let Some(step) = self.queue.take() else { return false };
        let held = self.points.node_of(step.slot);
        if let (Some(node), Some(vector)) = (held, &step.vector)
            && equal_bits(self.points.vectors.row(node), vector)
        {
            // Written again as it was (a new payload, say): the graph has nothing to learn.
            self.hidden[node as usize] = !step.is_newest;
            return true;
        }
        if let Some(node) = held {
            self.graph.remove(node, Vectors { rows: &self.points.vectors, space });
            self.points.release(step.slot);
        }
        if let Some(vector) = &step.vector {
            let node = self.points.claim(step.slot, vector);
            if self.hidden.len() <= node as usize {
                self.hidden.push(false);
            }
            self.hidden[node as usize] = !step.is_newest;
            self.graph.insert(node, Vectors { rows: &self.points.vectors, space }, &mut self.scratch);
        }
        true
    }

    /// Live points of the graph that a walk from its entry can reach, plus the queued ones (always found). Equals
    /// [`Self::len`] or the graph is broken. Cost: every link is followed once.
    pub fn reachable(&self) -> usize {
        let reached = self.graph.reached();
        let counts = |node: &u32| self.points.slot_of(*node) != crate::points::NO_SLOT && !self.hidden[*node as usize];
        reached.iter().filter(|node| counts(node)).count() + self.queue.live()
    }
}

fn equal_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
