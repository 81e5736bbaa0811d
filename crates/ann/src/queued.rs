//! A structure of points, and the queue of writes in front of it.

use crate::filter::Filter;
use crate::index::SearchParams;
use crate::memory::Rows;
use crate::near::{Near, Nearest};
use crate::points::{NO_SLOT, Points};
use crate::queue::{BLOCK, Queue};
use crate::space::Space;

/// Queued operations from which on every write also merges, two steps a write, so that the queue stays bounded even if
/// nobody calls [`Queued::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
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

/// What is asked of a structure.
pub(crate) struct Ask<'a> {
    pub query: &'a [f32],
    /// Nodes wanted, 1 at least.
    pub k: usize,
    pub params: &'a SearchParams,
    /// Points that the structure holds.
    pub points: usize,
    /// About how many of them the filter matches; all where there is none.
    pub matching: usize,
    pub is_filtered: bool,
}

/// Points arranged so that near ones are found without a look at all. A function of the writes it receives, one by one.
pub(crate) trait Structure {
    /// Takes in a node whose vector is in its row.
    fn insert(&mut self, node: u32, vectors: Vectors<'_>);

    /// Lets a node go whose vector is still in its row.
    fn remove(&mut self, node: u32, vectors: Vectors<'_>);

    /// Whether [`Self::work`] is due before the next write.
    fn has_work(&self, points: &Points) -> bool;

    /// Does a piece of the work that is due.
    fn work(&mut self, points: &Points, space: Space);

    /// Near nodes, of those accepted: `k` at least while there are as many. None where comparing with all is cheaper.
    fn find(&self, ask: &Ask<'_>, accepts: impl Fn(u32) -> bool, vectors: Vectors<'_>) -> Option<Vec<Near>>;

    /// How many live nodes a search without bounds would find; `is_live` tells which are.
    fn reached(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize;
}

/// A structure that is behind, and what it is behind by.
///
/// Two views of a slot exist: the structure's (`points`) and the newest (`queue`, where it knows the slot, else the
/// structure's). A node is hidden while the queue knows its slot: searches meet it, and return it never.
pub(crate) struct Queued<S> {
    pub points: Points,
    pub structure: S,
    pub queue: Queue,
    /// By node; derived from `queue`. Building never looks at it: it depends on when merges happen.
    hidden: Vec<bool>,
    /// Slots that hold a point in the newest view.
    live: usize,
}

impl<S: Structure> Queued<S> {
    pub fn new(dim: usize, structure: S) -> Self {
        Self::from_parts(Points::new(dim), structure, Queue::new(dim))
    }

    /// Puts the parts of a snapshot together and derives the rest.
    pub fn from_parts(points: Points, structure: S, queue: Queue) -> Self {
        let hidden: Vec<bool> = (0..points.nodes()).map(|node| queue.knows(points.slot_of(node))).collect();
        let hidden_points = hidden.iter().filter(|hidden| **hidden).count();
        let live = points.len() - hidden_points + queue.live();
        Self { points, structure, queue, hidden, live }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Points that searches meet and do not return.
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

    pub fn can_merge(&self) -> bool {
        self.structure.has_work(&self.points) || self.queue.has_steps()
    }

    /// Takes up to `most` steps; returns how many were taken, less than `most` when only an open block is left.
    pub fn merge(&mut self, most: usize, space: Space) -> usize {
        (0..most).take_while(|_| self.merge_one(space)).count()
    }

    fn merge_one(&mut self, space: Space) -> bool {
        if self.structure.has_work(&self.points) {
            self.structure.work(&self.points, space);
            return true;
        }
        let Some(step) = self.queue.take() else { return false };
        let held = self.points.node_of(step.slot);
        if let (Some(node), Some(vector)) = (held, &step.vector)
            && equal_bits(self.points.vectors.row(node), vector)
        {
            // Written again as it was (a new payload, say): the structure has nothing to learn.
            self.hidden[node as usize] = !step.is_newest;
            return true;
        }
        if let Some(node) = held {
            self.structure.remove(node, Vectors { rows: &self.points.vectors, space });
            self.points.release(step.slot);
        }
        if let Some(vector) = &step.vector {
            let node = self.points.claim(step.slot, vector);
            if self.hidden.len() <= node as usize {
                self.hidden.push(false);
            }
            self.hidden[node as usize] = !step.is_newest;
            self.structure.insert(node, Vectors { rows: &self.points.vectors, space });
        }
        true
    }

    /// The `k` nearest slots.
    pub fn search(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Vec<Near> {
        let mut nearest = Nearest::new(k);
        self.queue.scan(&space, query, filter, &mut nearest);
        let is_visible = |node: u32| !self.hidden[node as usize];
        let accepts =
            |node: u32| is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node)));
        let points = self.points.len();
        let matching = filter.map_or(points, |filter| filter.expected().min(points));
        let found = if params.exact {
            None
        } else {
            let ask = Ask { query, k, params, points, matching, is_filtered: filter.is_some() };
            self.structure.find(&ask, accepts, Vectors { rows: &self.points.vectors, space })
        };
        match found {
            Some(found) => found.into_iter().for_each(|near| {
                nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
            }),
            None => self.points.scan(&space, query, filter, is_visible, &mut nearest),
        }
        nearest.into_sorted()
    }

    /// Live points that a search without bounds would find; equals [`Self::len`] or the structure is broken. Cost: a look at
    /// all of it.
    pub fn reachable(&self) -> usize {
        let is_live = |node: u32| self.points.slot_of(node) != NO_SLOT && !self.hidden[node as usize];
        self.structure.reached(&self.points, is_live) + self.queue.live()
    }
}

fn equal_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
