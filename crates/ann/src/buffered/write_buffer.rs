//! Writes on their way into a structure, such as the graph.
//!
//! Operations (an upsert, or a delete that found its point) are numbered from 0. Numbers `256 b .. 256 (b + 1)` are block
//! `b`. A block is merged only once it is full, and before any later one, by these steps: of each slot the block touches,
//! its **last** operation there, in the order of the operations, but for some upserts from all over the block, which come last: they can
//! be asked for as strangers to all others. For all steps a place is sought in the structure as the last block left it; then they are
//! taken one by one. Neither sees anything of what is queued behind the block: so what step `n` leaves is the same whenever the steps
//! are taken.
//!
//! That is why a block keeps its vectors until it is merged, even where a later block has overwritten them, and why
//! nothing is netted over the border of two blocks.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::filter::Filter;
use crate::hash::SlotMap;
use crate::metric::Space;
use crate::neighbor::{Neighbor, TopK};
use crate::params::BLOCK;
use crate::storage::points::Points;

/// Upserts of a block of which one comes last.
const HOLDOUT_STRIDE: usize = 8;

/// A slot, and its vector; none is a delete.
type Op = (u32, Option<Arc<[f32]>>);

#[derive(Default, Clone)]
struct Block {
    ops: Vec<Op>,
    /// Once full: the operations that are the last of their slot in this block, as they are taken.
    net: Vec<u32>,
    /// How many of them come last though others followed them.
    holdouts: usize,
}

/// One step of a merge.
pub(crate) struct MergeStep {
    pub slot: u32,
    /// None: the slot is emptied.
    pub vector: Option<Arc<[f32]>>,
    /// Nothing queued later touches the slot.
    pub is_newest: bool,
}

/// Copies share blocks until one of them writes.
#[derive(Default, Clone)]
pub(crate) struct WriteBuffer {
    /// All full but the last.
    blocks: VecDeque<Arc<Block>>,
    /// Number of the front block.
    first: u64,
    /// Steps taken of the front block.
    done: usize,
    /// Of each slot that has queued operations, the number of the last.
    newest: Arc<SlotMap<u64>>,
}

impl WriteBuffer {
    /// Operations queued and not yet merged or passed over.
    pub fn pending(&self) -> usize {
        let queued: usize = self.blocks.iter().map(|block| block.ops.len()).sum();
        queued - self.consumed()
    }

    /// How many steps the front block has, if it is full.
    pub fn steps(&self) -> Option<usize> {
        self.blocks.front().map(|block| block.net.len()).filter(|steps| *steps > 0)
    }

    /// Steps of the front block that were taken.
    pub fn taken(&self) -> usize {
        self.done
    }

    /// A step of the front block: the slot, and its vector unless it is emptied.
    pub fn step(&self, step: usize) -> (u32, Option<&[f32]>) {
        let block = &self.blocks[0];
        as_op(&block.ops[block.net[step] as usize])
    }

    /// The vector of a step, unless it is written again as it was (with a new payload, say): the structure has nothing to learn
    /// then.
    pub fn new_vector(&self, step: usize, points: &Points) -> Option<&[f32]> {
        let (slot, vector) = self.step(step);
        vector.filter(|vector| points.vector(slot).is_none_or(|held| !equal_bits(&held, vector)))
    }

    /// Makes an open front block count as full. The next operation begins a block.
    pub fn close(&mut self) {
        if let Some(block) = self.blocks.front_mut()
            && block.net.is_empty()
        {
            Arc::make_mut(block).close();
        }
    }

    /// Whether steps of the front block are taken in the order of its operations.
    pub fn is_in_order(&self) -> bool {
        self.holdouts() == 0
    }

    /// Steps of the front block that come last, from all over it.
    pub fn holdouts(&self) -> usize {
        self.blocks.front().map_or(0, |block| block.holdouts)
    }

    /// Operations of the front block that were taken, and those passed over once one was.
    fn consumed(&self) -> usize {
        match self.blocks.front() {
            Some(block) if self.done > 0 => block.ops.len() - (block.net.len() - self.done),
            _ => 0,
        }
    }

    pub fn bytes(&self) -> usize {
        let vectors = self.operations().filter_map(|(_, vector)| vector).map(size_of_val::<[f32]>).sum::<usize>();
        let ops = self.blocks.iter().map(|block| block.ops.capacity() * size_of::<Op>()).sum::<usize>();
        vectors + ops + self.newest.capacity() * 17
    }

    pub fn push(&mut self, slot: u32, vector: Option<&[f32]>) {
        if self.blocks.back().is_none_or(|block| !block.net.is_empty()) {
            self.blocks.push_back(Arc::default());
        }
        let number = self.first + self.blocks.len() as u64 - 1;
        let block = Arc::make_mut(self.blocks.back_mut().expect("an open block was just ensured"));
        Arc::make_mut(&mut self.newest).insert(slot, number * BLOCK as u64 + block.ops.len() as u64);
        block.ops.push((slot, vector.map(Arc::from)));
        if block.ops.len() == BLOCK {
            block.close();
        }
    }

    /// The next step, if the front block is full.
    pub fn take(&mut self) -> Option<MergeStep> {
        let steps = self.steps()?;
        let at = self.blocks[0].net[self.done];
        let (slot, vector) = self.blocks[0].ops[at as usize].clone();
        self.done += 1;
        let is_newest = self.newest.get(&slot) == Some(&(self.first * BLOCK as u64 + u64::from(at)));
        if is_newest {
            Arc::make_mut(&mut self.newest).remove(&slot);
        }
        if self.done == steps {
            self.blocks.pop_front();
            self.first += 1;
            self.done = 0;
        }
        Some(MergeStep { slot, vector, is_newest })
    }

    /// Whether an operation on `slot` is queued.
    pub fn contains(&self, slot: u32) -> bool {
        self.newest.contains_key(&slot)
    }

    /// What the last queued operation made of `slot`: its vector, or nothing (deleted).
    pub fn newest(&self, slot: u32) -> Option<Option<&[f32]>> {
        self.newest.get(&slot).map(|number| {
            let block = &self.blocks[(number / BLOCK as u64 - self.first) as usize];
            as_op(&block.ops[(number % BLOCK as u64) as usize]).1
        })
    }

    /// Slots whose newest state is a queued vector.
    pub fn live(&self) -> usize {
        self.visible().count()
    }

    /// Slots with their newest vector, where that is queued.
    fn visible(&self) -> impl Iterator<Item = (u32, &[f32])> {
        let numbered = self.operations().enumerate();
        let start = self.first * BLOCK as u64;
        numbered.filter_map(move |(i, (slot, vector))| {
            let is_newest = self.newest.get(&slot) == Some(&(start + i as u64));
            if is_newest { vector.map(|vector| (slot, vector)) } else { None }
        })
    }

    /// Compares the query with every visible queued vector.
    pub fn scan(&self, space: &Space, query: &[f32], filter: Option<&Filter<'_>>, nearest: &mut TopK) {
        for (slot, vector) in self.visible() {
            if filter.is_none_or(|filter| filter.accepts(slot)) {
                nearest.push(Neighbor::new(space.distance(query, vector), slot));
            }
        }
    }

    /// Every operation of every block, the merged ones of the front block included.
    pub fn operations(&self) -> impl Iterator<Item = (u32, Option<&[f32]>)> {
        self.blocks.iter().flat_map(|block| block.ops.iter().map(as_op))
    }

    /// Number of the front block, and steps taken of it.
    pub fn position(&self) -> (u64, usize) {
        (self.first, self.done)
    }

    /// An empty queue at a position; push what [`Self::operations`] told, then call [`Self::pass`].
    pub fn restore(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Marks `done` steps of the front block as taken; false if it has no more than these. `in_order`: they were, and the rest is to be, in
    /// the order of the operations.
    pub fn skip(&mut self, done: usize, in_order: bool) -> bool {
        let steps = self.blocks.front().map_or(0, |block| block.net.len());
        if done != 0 && done >= steps {
            return false;
        }
        if let Some(block) = self.blocks.front_mut().filter(|_| done > 0 && in_order) {
            let block = Arc::make_mut(block);
            block.net.sort_unstable();
            block.holdouts = 0;
        }
        for _ in 0..done {
            self.take();
        }
        true
    }
}

impl Block {
    /// Counts as full from now on.
    fn close(&mut self) {
        let mut last = SlotMap::default();
        for (at, (slot, _)) in (0..).zip(&self.ops) {
            last.insert(*slot, at);
        }
        let mut net: Vec<u32> = last.into_values().collect();
        net.sort_unstable();
        let upserts: Vec<u32> = net.iter().copied().filter(|at| self.ops[*at as usize].1.is_some()).collect();
        let first = (HOLDOUT_STRIDE / 2).min(upserts.len() / 2);
        let holdouts: Vec<u32> = upserts[first..].iter().copied().step_by(HOLDOUT_STRIDE).collect();
        net.retain(|at| holdouts.binary_search(at).is_err());
        net.extend(&holdouts);
        (self.net, self.holdouts) = (net, holdouts.len());
    }
}

fn as_op((slot, vector): &Op) -> (u32, Option<&[f32]>) {
    (*slot, vector.as_deref())
}

fn equal_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
