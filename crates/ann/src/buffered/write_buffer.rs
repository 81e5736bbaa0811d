//! Buffer of writes that are not merged into the index yet.
//!
//! Operations (an upsert, or a delete of an existing point) are numbered from 0. Numbers `256 b .. 256 (b + 1)` are
//! block `b`. A block is merged once it is full, after all earlier blocks. For each slot that the block touches, the
//! **last** operation is a step. Steps are in the order of the operations, except the holdouts: one upsert of eight,
//! from all over the block, is applied last. Until then it serves as a recall query that the index does not contain.
//!
//! All steps are planned on the index as the previous block left it; then they are applied one by one. Neither reads
//! anything of later blocks. So the result of step `n` does not depend on when steps are taken.
//!
//! For this reason a block keeps its vectors until it is merged, even if a later block overwrites them, and operations
//! of different blocks are never combined.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::filter::Filter;
use crate::hash::SlotMap;
use crate::metric::Space;
use crate::neighbor::{Neighbor, TopK};
use crate::params::BLOCK;
use crate::storage::points::Points;

/// One upsert of so many in a block is a holdout.
const HOLDOUT_STRIDE: usize = 8;

/// A slot and its vector; none is a delete.
type Op = (u32, Option<Arc<[f32]>>);

#[derive(Default, Clone)]
struct Block {
    ops: Vec<Op>,
    /// Once full: the last operation of each slot in this block, in the order of application.
    net: Vec<u32>,
    /// Number of holdouts at the end of `net`.
    holdouts: usize,
}

/// One step of a merge.
pub(crate) struct MergeStep {
    pub slot: u32,
    /// None: a delete.
    pub vector: Option<Arc<[f32]>>,
    /// No later operation in the buffer touches the slot.
    pub is_newest: bool,
}

/// Copies share blocks until one of them writes.
#[derive(Default, Clone)]
pub(crate) struct WriteBuffer {
    /// All full but the last.
    blocks: VecDeque<Arc<Block>>,
    /// Number of the front block.
    first: u64,
    /// Steps of the front block that were applied.
    done: usize,
    /// Per slot with buffered operations: number of the last one.
    newest: Arc<SlotMap<u64>>,
}

impl WriteBuffer {
    /// Buffered operations that are neither merged nor superseded in a block being merged.
    pub fn pending(&self) -> usize {
        let queued: usize = self.blocks.iter().map(|block| block.ops.len()).sum();
        queued - self.consumed()
    }

    /// Number of steps of the front block, if it is full.
    pub fn steps(&self) -> Option<usize> {
        self.blocks.front().map(|block| block.net.len()).filter(|steps| *steps > 0)
    }

    /// Steps of the front block that were applied.
    pub fn taken(&self) -> usize {
        self.done
    }

    /// A step of the front block: the slot, and its vector unless it is a delete.
    pub fn step(&self, step: usize) -> (u32, Option<&[f32]>) {
        let block = &self.blocks[0];
        as_op(&block.ops[block.net[step] as usize])
    }

    /// The vector of a step, unless the slot holds the same vector already (a write of another payload, for example):
    /// the index need not change then.
    pub fn new_vector(&self, step: usize, points: &Points) -> Option<&[f32]> {
        let (slot, vector) = self.step(step);
        vector.filter(|vector| points.vector(slot).is_none_or(|held| !equal_bits(&held, vector)))
    }

    /// Closes an open front block. The next operation begins a new block.
    pub fn close(&mut self) {
        if let Some(block) = self.blocks.front_mut()
            && block.net.is_empty()
        {
            Arc::make_mut(block).close();
        }
    }

    /// Whether steps of the front block are in the order of its operations.
    pub fn is_in_order(&self) -> bool {
        self.holdouts() == 0
    }

    /// Steps of the front block that are applied last, from all over it.
    pub fn holdouts(&self) -> usize {
        self.blocks.front().map_or(0, |block| block.holdouts)
    }

    /// Operations of the front block that were applied, and those that were superseded, once one was applied.
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

    /// Takes the next step, if the front block is full.
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

    /// Whether the buffer has an operation on `slot`.
    pub fn contains(&self, slot: u32) -> bool {
        self.newest.contains_key(&slot)
    }

    /// Result of the last buffered operation on `slot`: its vector, or none if deleted.
    pub fn newest(&self, slot: u32) -> Option<Option<&[f32]>> {
        self.newest.get(&slot).map(|number| {
            let block = &self.blocks[(number / BLOCK as u64 - self.first) as usize];
            as_op(&block.ops[(number % BLOCK as u64) as usize]).1
        })
    }

    /// Slots whose newest state is a buffered vector.
    pub fn live(&self) -> usize {
        self.visible().count()
    }

    /// Slots whose newest state is a buffered vector, with that vector.
    fn visible(&self) -> impl Iterator<Item = (u32, &[f32])> {
        let numbered = self.operations().enumerate();
        let start = self.first * BLOCK as u64;
        numbered.filter_map(move |(i, (slot, vector))| {
            let is_newest = self.newest.get(&slot) == Some(&(start + i as u64));
            if is_newest { vector.map(|vector| (slot, vector)) } else { None }
        })
    }

    /// Compares the query with every vector that is the newest of its slot.
    pub fn scan(&self, space: &Space, query: &[f32], filter: Option<&Filter<'_>>, nearest: &mut TopK) {
        for (slot, vector) in self.visible() {
            if filter.is_none_or(|filter| filter.accepts(slot)) {
                nearest.push(Neighbor::new(space.distance(query, vector), slot));
            }
        }
    }

    /// Every operation of every block, including the merged ones of the front block.
    pub fn operations(&self) -> impl Iterator<Item = (u32, Option<&[f32]>)> {
        self.blocks.iter().flat_map(|block| block.ops.iter().map(as_op))
    }

    /// Number of the front block, and its applied steps.
    pub fn position(&self) -> (u64, usize) {
        (self.first, self.done)
    }

    /// An empty buffer at a position. Push what [`Self::operations`] returned, then call [`Self::skip`].
    pub fn restore(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Marks `done` steps of the front block as applied; false if it does not have more than these. `in_order`: its
    /// steps are in the order of the operations, as older formats had them.
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
    /// Computes the steps of a block that is full from now on.
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
