//! An approximate index with a write buffer in front of it.
//!
//! This file handles writes and merges. `write_buffer` holds writes that are not merged yet, `hidden_set` the nodes
//! that these replace. `search` executes queries, `matching_set` resolves filters, `scan` compares all matching points.
//! `task` runs training and probes between merge steps.

mod hidden_set;
mod matching_set;
mod scan;
mod search;
mod task;
pub(crate) mod write_buffer;

use std::borrow::Cow;

use crate::approximate_index::RecallTunable;
use crate::buffered::write_buffer::WriteBuffer;
use crate::metric::Space;
use crate::params::BLOCK;
use crate::recall_model::RecallModel;
use crate::recall_model::probe::ProbeSource;
use crate::revision::ViewRevision;
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

use hidden_set::HiddenSet;
use task::Progress;

/// Merge steps that a write then takes. An operation becomes at most two steps; probes of a block and training add up
/// to as many for each.
const STEPS_PER_WRITE: usize = 5;

/// Pending operations from which on every write also merges, so that the buffer stays bounded even if nobody calls
/// [`BufferedIndex::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
const MAX_PENDING: usize = 32 * BLOCK;

/// An index, and the writes that it lacks.
///
/// A slot has two states: the merged one (`points`) and the newest, which `buffer` holds if it contains the slot. A
/// node is hidden while the buffer contains its slot: searches visit it and never return it.
pub(crate) struct BufferedIndex<S: RecallTunable> {
    pub points: Points,
    pub index: S,
    pub buffer: WriteBuffer,
    /// Per step of the front block, as far as planned; none for a step without a new vector.
    insert_plans: Vec<Option<S::InsertPlan>>,
    /// Measured recall per effort.
    pub recall_model: RecallModel,
    /// Training or probes in progress.
    progress: Progress<S::Training>,
    /// Per node; derived from `buffer`. Inserts and deletes never read it, because it depends on when merges happen.
    hidden: HiddenSet,
    /// Slots whose newest state is a point.
    live: usize,
    revision: ViewRevision,
    /// Whether writes never merge, however many operations are pending.
    pub is_deferring: bool,
}

impl<S: RecallTunable> BufferedIndex<S> {
    pub fn new(points: Points, index: S) -> Self {
        Self::from_parts(points, index, WriteBuffer::default(), Vec::new())
    }

    /// Assembles the parts of a snapshot and derives the rest. `insert_plans`: as returned by [`Self::insert_plans`].
    pub fn from_parts(points: Points, index: S, buffer: WriteBuffer, insert_plans: Vec<Option<S::InsertPlan>>) -> Self {
        let mut hidden = HiddenSet::default();
        (0..points.nodes())
            .filter(|node| buffer.contains(points.slot_of(*node)))
            .for_each(|node| hidden.set(node, true));
        let live = points.len() - hidden.count() + buffer.live();
        Self {
            points,
            index,
            buffer,
            insert_plans,
            recall_model: RecallModel::default(),
            progress: Progress::default(),
            hidden,
            live,
            revision: ViewRevision::new(),
            is_deferring: false,
        }
    }

    pub fn with_recall_model(self, recall_model: RecallModel) -> Self {
        Self { recall_model, ..self }
    }

    /// Plans the remaining inserts of a partly merged block, which format version 1 does not store.
    pub fn with_missing_plans(mut self, space: Space) -> Self {
        let steps = self.buffer.steps().filter(|_| self.buffer.taken() > 0).unwrap_or(0);
        while self.insert_plans.len() < steps {
            self.plan_next(space);
        }
        self
    }

    /// The searchable part of the current state, unaffected by later writes.
    pub fn view(&mut self) -> Self {
        Self {
            points: self.points.view(),
            index: self.index.view(),
            buffer: self.buffer.clone(),
            insert_plans: Vec::new(),
            recall_model: self.recall_model.clone(),
            progress: Progress::default(),
            hidden: self.hidden.clone(),
            live: self.live,
            revision: self.revision,
            is_deferring: self.is_deferring,
        }
    }

    /// As [`Self::view`], with everything that a snapshot holds.
    pub fn image(&mut self) -> Self {
        let (points, index) = (self.points.image(), self.index.image());
        Self { points, index, insert_plans: self.insert_plans.clone(), ..self.view() }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Number of hidden nodes.
    pub fn hidden(&self) -> usize {
        self.hidden.count()
    }

    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match self.buffer.newest(slot) {
            Some(queued) => queued.map(Cow::Borrowed),
            None => self.points.vector(slot),
        }
    }

    /// Whether the newest state of a slot is a point.
    pub fn contains(&self, slot: u32) -> bool {
        self.buffer.newest(slot).map_or_else(|| self.points.node_of(slot).is_some(), |queued| queued.is_some())
    }

    pub fn upsert(&mut self, slot: u32, vector: &[f32], space: Space) {
        self.live += usize::from(!self.contains(slot));
        self.push(slot, Some(vector), space);
    }

    pub fn delete(&mut self, slot: u32, space: Space) -> bool {
        if !self.contains(slot) {
            return false;
        }
        self.live -= 1;
        self.push(slot, None, space);
        true
    }

    fn push(&mut self, slot: u32, vector: Option<&[f32]>, space: Space) {
        self.revision = ViewRevision::new();
        if let Some(node) = self.points.node_of(slot) {
            self.hidden.set(node, true);
        }
        self.buffer.push(slot, vector);
        if self.buffer.pending() > MAX_PENDING && !self.is_deferring {
            self.merge(STEPS_PER_WRITE, space);
        }
    }

    pub fn can_merge(&self) -> bool {
        self.has_work() || self.buffer.steps().is_some()
    }

    /// Runs up to `most` steps and returns their number, less than `most` when only an open block is left.
    pub fn merge(&mut self, most: usize, space: Space) -> usize {
        (0..most).take_while(|_| self.merge_one(space)).count()
    }

    fn merge_one(&mut self, space: Space) -> bool {
        if self.has_work() {
            self.work(space);
            return true;
        }
        let Some(steps) = self.buffer.steps() else { return false };
        if self.insert_plans.len() < steps {
            self.plan_next(space);
        } else {
            self.apply_step(space);
            self.refresh(space);
        }
        true
    }

    fn refresh(&mut self, space: Space) {
        self.index.refresh(Vectors { rows: &self.points.vectors, space });
    }

    /// Plans the first step of the front block that is not planned yet.
    fn plan_next(&mut self, space: Space) {
        self.insert_plans.push(self.plan(
            self.buffer.new_vector(self.insert_plans.len(), &self.points),
            self.planned_inserts() + 1,
            space,
        ));
    }

    /// Merges the front block, closing it if it is open; `threads` threads plan its inserts. False if there is no
    /// block. `queries`: number of its vectors to use as probes, where the index has no hold-out set; otherwise, and if
    /// absent, probes run when they are due.
    pub fn merge_block(&mut self, threads: usize, queries: Option<usize>, space: Space) -> bool {
        self.buffer.close();
        let has_work = |this: &Self| if queries.is_some() { this.has_mandatory_work() } else { this.has_work() };
        while has_work(self) {
            self.work(space);
        }
        if let Some(queries) = queries.filter(|queries| *queries > 0) {
            let sample = self.probes().run(queries, threads, space);
            if sample.wanted > 0 {
                self.recall_model.add_sample(sample, self.points.len());
            }
        }
        let Some(steps) = self.buffer.steps() else { return false };
        let this = &*self;
        let mut planned_inserts = this.planned_inserts();
        let to_plan: Vec<_> = (this.insert_plans.len()..steps)
            .map(|step| {
                let vector = this.buffer.new_vector(step, &this.points);
                planned_inserts += u64::from(vector.is_some());
                (vector, planned_inserts)
            })
            .collect();
        let share = to_plan.len().div_ceil(threads.max(1)).max(1);
        let found: Vec<Vec<Option<S::InsertPlan>>> = std::thread::scope(|scope| {
            let plan = |some: &[(Option<&[f32]>, u64)]| {
                some.iter().map(|(vector, nth)| this.plan(*vector, *nth, space)).collect()
            };
            let mut shares = to_plan.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|some| scope.spawn(move || plan(some))).collect();
            let mut found = vec![plan(first)];
            found.extend(others.into_iter().map(|other| other.join().expect("planning does not panic")));
            found
        });
        self.insert_plans.extend(found.into_iter().flatten());
        while !self.insert_plans.is_empty() {
            while has_work(self) {
                self.refresh(space);
                self.work(space);
            }
            self.apply_step(space);
        }
        self.refresh(space);
        true
    }

    /// Planned inserts of the front block.
    fn planned_inserts(&self) -> u64 {
        self.insert_plans.iter().flatten().count() as u64
    }

    /// Plans the insert of the `nth` new vector, from 1, if there is a vector.
    fn plan(&self, vector: Option<&[f32]>, nth: u64, space: Space) -> Option<S::InsertPlan> {
        let vectors = Vectors { rows: &self.points.vectors, space };
        vector.map(|vector| self.index.plan_insert(vector, nth, vectors))
    }

    /// The parts that probes read.
    fn probes(&self) -> ProbeSource<'_, S> {
        ProbeSource { points: &self.points, index: &self.index, buffer: &self.buffer }
    }

    /// Applies the next step of the front block, all of which is planned.
    fn apply_step(&mut self, space: Space) {
        self.revision = ViewRevision::new();
        let plan = self.insert_plans[self.buffer.taken()].take();
        let step = self.buffer.take().expect("a block whose steps are planned is full");
        if self.buffer.taken() == 0 {
            self.insert_plans.clear();
        }
        let held = self.points.node_of(step.slot);
        let is_kept = step.vector.is_some() && plan.is_none();
        if let Some(node) = held {
            if is_kept {
                self.hidden.set(node, !step.is_newest);
                return;
            }
            self.index.remove(node, Vectors { rows: &self.points.vectors, space });
            self.points.remove(step.slot);
        }
        if let (Some(vector), Some(plan)) = (&step.vector, &plan) {
            let node = self.points.insert(step.slot, vector);
            self.hidden.set(node, !step.is_newest);
            self.index.insert(node, plan, Vectors { rows: &self.points.vectors, space });
            self.recall_model.count_insert();
        }
    }

    /// Plans of the remaining steps of the front block, if one of its steps was applied. They cannot be recomputed,
    /// because the index has changed since.
    pub fn insert_plans(&self) -> Option<&[Option<S::InsertPlan>]> {
        let taken = self.buffer.taken();
        (taken > 0).then(|| &self.insert_plans[taken..])
    }

    fn is_visible(&self, node: u32) -> bool {
        !self.hidden.contains(node)
    }

    /// Live points that an unbounded search finds; equals [`Self::len`] unless the index is broken. Cost: one pass over
    /// the index.
    pub fn reachable(&self) -> usize {
        let is_live = |node: u32| self.points.is_occupied(node) && self.is_visible(node);
        self.index.count_reachable(&self.points, is_live) + self.buffer.live()
    }
}
