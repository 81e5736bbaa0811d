//! A structure of points, and the queue of writes in front of it.
//!
//! Here is what writes and merges do; `search` is what queries do, `matches` who they may find, `scan` how they are compared with all of
//! these; `task` is the work between two steps, `draw` that on the curve of recall.

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

/// Steps that a write takes then. An operation becomes two at most, and searches for some of a block as many for each of these.
const STEPS_PER_WRITE: usize = 5;

/// Queued operations from which on every write also merges, so that the queue stays bounded even if nobody calls
/// [`BufferedIndex::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
const MAX_PENDING: usize = 32 * BLOCK;

/// A structure that is behind, and what it is behind by.
///
/// Two views of a slot exist: the structure's (`points`) and the newest (`queue`, where it knows the slot, else the
/// structure's). A node is hidden while the queue knows its slot: searches meet it, and return it never.
pub(crate) struct BufferedIndex<S: RecallTunable> {
    pub points: Points,
    pub index: S,
    pub buffer: WriteBuffer,
    /// By step of the front block, as far as places were sought: none for what brings no new vector.
    insert_plans: Vec<Option<S::InsertPlan>>,
    /// What searches find, by effort.
    pub recall_model: RecallModel,
    /// Of work between two steps.
    progress: Progress<S::Training>,
    /// By node; derived from `queue`. Building never looks at it: it depends on when merges happen.
    hidden: HiddenSet,
    /// Slots that hold a point in the newest view.
    live: usize,
    revision: ViewRevision,
    /// Writes do not merge, however many operations are queued.
    pub is_deferring: bool,
}

impl<S: RecallTunable> BufferedIndex<S> {
    pub fn new(points: Points, index: S) -> Self {
        Self::from_parts(points, index, WriteBuffer::default(), Vec::new())
    }

    /// Puts the parts of a snapshot together and derives the rest. `insert_plans`: as [`Self::insert_plans`] told.
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

    /// Seeks the places that are missing for a block which is half taken.
    pub fn with_missing_plans(mut self, space: Space) -> Self {
        let steps = self.buffer.steps().filter(|_| self.buffer.taken() > 0).unwrap_or(0);
        while self.insert_plans.len() < steps {
            self.plan_next(space);
        }
        self
    }

    /// What searches look at, as it is now, whatever is done from now on.
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

    /// As [`Self::view`], with all that a snapshot holds.
    pub fn image(&mut self) -> Self {
        let (points, index) = (self.points.image(), self.index.image());
        Self { points, index, insert_plans: self.insert_plans.clone(), ..self.view() }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Points that searches meet and do not return.
    pub fn hidden(&self) -> usize {
        self.hidden.count()
    }

    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match self.buffer.newest(slot) {
            Some(queued) => queued.map(Cow::Borrowed),
            None => self.points.vector(slot),
        }
    }

    /// Whether the slot holds a point in the newest view.
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

    /// Takes up to `most` steps; returns how many were taken, less than `most` when only an open block is left.
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

    /// Seeks the first place that was not sought yet for a step of the front block.
    fn plan_next(&mut self, space: Space) {
        self.insert_plans.push(self.plan(
            self.buffer.new_vector(self.insert_plans.len(), &self.points),
            self.planned_inserts() + 1,
            space,
        ));
    }

    /// Merges the front block, closing it if it is open; places are sought by so many threads. False if there is none. `queries`: so
    /// many of its vectors are asked for, where the structure goes by all others; without that, and on others, as is due.
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

    /// Vectors of the front block that will come in and whose places were sought.
    fn planned_inserts(&self) -> u64 {
        self.insert_plans.iter().flatten().count() as u64
    }

    /// Seeks the place of the `nth` vector that will come in, from 1, if there is one.
    fn plan(&self, vector: Option<&[f32]>, nth: u64, space: Space) -> Option<S::InsertPlan> {
        let vectors = Vectors { rows: &self.points.vectors, space };
        vector.map(|vector| self.index.plan_insert(vector, nth, vectors))
    }

    /// The parts that probes read.
    fn probes(&self) -> ProbeSource<'_, S> {
        ProbeSource { points: &self.points, index: &self.index, buffer: &self.buffer }
    }

    /// Takes the next step of the front block, for all of which places were sought.
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

    /// Places sought for the steps of the front block that are left, once one of its steps was taken: they cannot be sought
    /// again then, for the structure has changed.
    pub fn insert_plans(&self) -> Option<&[Option<S::InsertPlan>]> {
        let taken = self.buffer.taken();
        (taken > 0).then(|| &self.insert_plans[taken..])
    }

    fn is_visible(&self, node: u32) -> bool {
        !self.hidden.contains(node)
    }

    /// Live points that a search without bounds would find; equals [`Self::len`] or the structure is broken. Cost: a look at
    /// all of it.
    pub fn reachable(&self) -> usize {
        let is_live = |node: u32| self.points.is_occupied(node) && self.is_visible(node);
        self.index.count_reachable(&self.points, is_live) + self.buffer.live()
    }
}
