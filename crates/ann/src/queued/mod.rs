//! A structure of points, and the queue of writes in front of it.
//!
//! Here is what writes and merges do; `search` is what queries do, `matches` who they may find, `scan` how they are compared with all of
//! these; `task` is the work between two steps, `draw` that on the curve of recall.

mod draw;
mod marks;
mod matches;
mod scan;
mod search;
mod task;

use std::borrow::Cow;

use crate::edition::Edition;
use crate::points::Points;
use crate::queue::{BLOCK, Queue};
use crate::space::Space;
use crate::structure::{Structure, Vectors};
use crate::tuning::Curve;

use marks::Marks;
use task::Progress;

/// Steps that a write takes then. An operation becomes two at most, and searches for some of a block as many for each of these.
const STEPS_A_WRITE: usize = 5;

/// Queued operations from which on every write also merges, so that the queue stays bounded even if nobody calls
/// [`Queued::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
const QUEUE_LIMIT: usize = 32 * BLOCK;

/// A structure that is behind, and what it is behind by.
///
/// Two views of a slot exist: the structure's (`points`) and the newest (`queue`, where it knows the slot, else the
/// structure's). A node is hidden while the queue knows its slot: searches meet it, and return it never.
pub(crate) struct Queued<S: Structure> {
    pub points: Points,
    pub structure: S,
    pub queue: Queue,
    /// By step of the front block, as far as places were sought: none for what brings no new vector.
    surveys: Vec<Option<S::Survey>>,
    /// What searches find, by effort.
    pub curve: Curve,
    /// Of work between two steps.
    progress: Progress<S::Learning>,
    /// By node; derived from `queue`. Building never looks at it: it depends on when merges happen.
    hidden: Marks,
    /// Slots that hold a point in the newest view.
    live: usize,
    edition: Edition,
    /// Writes do not merge, however many operations are queued.
    pub is_deferring: bool,
}

impl<S: Structure> Queued<S> {
    pub fn new(points: Points, structure: S) -> Self {
        Self::from_parts(points, structure, Queue::default(), Vec::new())
    }

    /// Puts the parts of a snapshot together and derives the rest. `surveys`: as [`Self::surveys`] told.
    pub fn from_parts(points: Points, structure: S, queue: Queue, surveys: Vec<Option<S::Survey>>) -> Self {
        let mut hidden = Marks::default();
        (0..points.nodes()).filter(|node| queue.knows(points.slot_of(*node))).for_each(|node| hidden.set(node, true));
        let live = points.len() - hidden.count() + queue.live();
        Self {
            points,
            structure,
            queue,
            surveys,
            curve: Curve::default(),
            progress: Progress::default(),
            hidden,
            live,
            edition: Edition::new(),
            is_deferring: false,
        }
    }

    pub fn with_curve(self, curve: Curve) -> Self {
        Self { curve, ..self }
    }

    /// Seeks the places that are missing for a block which is half taken.
    pub fn with_places(mut self, space: Space) -> Self {
        let steps = self.queue.steps().filter(|_| self.queue.taken() > 0).unwrap_or(0);
        while self.surveys.len() < steps {
            self.seek_next(space);
        }
        self
    }

    /// What searches look at, as it is now, whatever is done from now on.
    pub fn view(&mut self) -> Self {
        Self {
            points: self.points.view(),
            structure: self.structure.view(),
            queue: self.queue.clone(),
            surveys: Vec::new(),
            curve: self.curve.clone(),
            progress: Progress::default(),
            hidden: self.hidden.clone(),
            live: self.live,
            edition: self.edition,
            is_deferring: self.is_deferring,
        }
    }

    /// As [`Self::view`], with all that a snapshot holds.
    pub fn image(&mut self) -> Self {
        let (points, structure) = (self.points.image(), self.structure.image());
        Self { points, structure, surveys: self.surveys.clone(), ..self.view() }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Points that searches meet and do not return.
    pub fn hidden(&self) -> usize {
        self.hidden.count()
    }

    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match self.queue.newest(slot) {
            Some(queued) => queued.map(Cow::Borrowed),
            None => self.points.vector(slot),
        }
    }

    /// Whether the slot holds a point in the newest view.
    pub fn holds(&self, slot: u32) -> bool {
        self.queue.newest(slot).map_or_else(|| self.points.node_of(slot).is_some(), |queued| queued.is_some())
    }

    pub fn upsert(&mut self, slot: u32, vector: &[f32], space: Space) {
        self.live += usize::from(!self.holds(slot));
        self.push(slot, Some(vector), space);
    }

    pub fn delete(&mut self, slot: u32, space: Space) -> bool {
        if !self.holds(slot) {
            return false;
        }
        self.live -= 1;
        self.push(slot, None, space);
        true
    }

    fn push(&mut self, slot: u32, vector: Option<&[f32]>, space: Space) {
        self.edition = Edition::new();
        if let Some(node) = self.points.node_of(slot) {
            self.hidden.set(node, true);
        }
        self.queue.push(slot, vector);
        if self.queue.pending() > QUEUE_LIMIT && !self.is_deferring {
            self.merge(STEPS_A_WRITE, space);
        }
    }

    pub fn can_merge(&self) -> bool {
        self.has_work() || self.queue.steps().is_some()
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
        let Some(steps) = self.queue.steps() else { return false };
        if self.surveys.len() < steps {
            self.seek_next(space);
        } else {
            self.apply(space);
            self.settle(space);
        }
        true
    }

    fn settle(&mut self, space: Space) {
        self.structure.settle(Vectors { rows: &self.points.vectors, space });
    }

    /// Seeks the first place that was not sought yet for a step of the front block.
    fn seek_next(&mut self, space: Space) {
        self.surveys.push(self.survey(self.new_vector(self.surveys.len()), self.births() + 1, space));
    }

    /// Merges the front block, closing it if it is open; places are sought by so many threads. False if there is none. `queries`: so
    /// many of its vectors are asked for, where the structure goes by all others; without that, and on others, as is due.
    pub fn merge_block(&mut self, threads: usize, queries: Option<usize>, space: Space) -> bool {
        self.queue.close();
        let has_work = |this: &Self| if queries.is_some() { this.has_to_work() } else { this.has_work() };
        while has_work(self) {
            self.work(space);
        }
        if let Some(queries) = queries.filter(|queries| *queries > 0) {
            let tally = self.ask(queries, threads, space);
            if tally.wanted > 0 {
                self.curve.take_in(tally, self.points.len());
            }
        }
        let Some(steps) = self.queue.steps() else { return false };
        let this = &*self;
        let mut births = this.births();
        let sought: Vec<_> = (this.surveys.len()..steps)
            .map(|step| {
                let vector = this.new_vector(step);
                births += u64::from(vector.is_some());
                (vector, births)
            })
            .collect();
        let share = sought.len().div_ceil(threads.max(1)).max(1);
        let found: Vec<Vec<Option<S::Survey>>> = std::thread::scope(|scope| {
            let seek = |some: &[(Option<&[f32]>, u64)]| {
                some.iter().map(|(vector, nth)| this.survey(*vector, *nth, space)).collect()
            };
            let mut shares = sought.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|some| scope.spawn(move || seek(some))).collect();
            let mut found = vec![seek(first)];
            found.extend(others.into_iter().map(|other| other.join().expect("seeking does not panic")));
            found
        });
        self.surveys.extend(found.into_iter().flatten());
        while !self.surveys.is_empty() {
            while has_work(self) {
                self.settle(space);
                self.work(space);
            }
            self.apply(space);
        }
        self.settle(space);
        true
    }

    /// Vectors of the front block that will come in and whose places were sought.
    fn births(&self) -> u64 {
        self.surveys.iter().flatten().count() as u64
    }

    /// Seeks the place of the `nth` vector that will come in, from 1, if there is one.
    fn survey(&self, vector: Option<&[f32]>, nth: u64, space: Space) -> Option<S::Survey> {
        let vectors = Vectors { rows: &self.points.vectors, space };
        vector.map(|vector| self.structure.survey(vector, nth, vectors))
    }

    /// The vector of a step, unless it is written again as it was (with a new payload, say): the structure has nothing to learn
    /// then.
    fn new_vector(&self, step: usize) -> Option<&[f32]> {
        let (slot, vector) = self.queue.step(step);
        vector.filter(|vector| self.points.vector(slot).is_none_or(|held| !equal_bits(&held, vector)))
    }

    /// Takes the next step of the front block, for all of which places were sought.
    fn apply(&mut self, space: Space) {
        self.edition = Edition::new();
        let survey = self.surveys[self.queue.taken()].take();
        let step = self.queue.take().expect("a block whose steps were surveyed is full");
        if self.queue.taken() == 0 {
            self.surveys.clear();
        }
        let held = self.points.node_of(step.slot);
        let is_kept = step.vector.is_some() && survey.is_none();
        if let Some(node) = held {
            if is_kept {
                self.hidden.set(node, !step.is_newest);
                return;
            }
            self.structure.remove(node, Vectors { rows: &self.points.vectors, space });
            self.points.release(step.slot);
        }
        if let (Some(vector), Some(survey)) = (&step.vector, &survey) {
            let node = self.points.claim(step.slot, vector);
            self.hidden.set(node, !step.is_newest);
            self.structure.insert(node, survey, Vectors { rows: &self.points.vectors, space });
            self.curve.count();
        }
    }

    /// Places sought for the steps of the front block that are left, once one of its steps was taken: they cannot be sought
    /// again then, for the structure has changed.
    pub fn surveys(&self) -> Option<&[Option<S::Survey>]> {
        let taken = self.queue.taken();
        (taken > 0).then(|| &self.surveys[taken..])
    }

    fn is_visible(&self, node: u32) -> bool {
        !self.hidden.has(node)
    }

    /// Live points that a search without bounds would find; equals [`Self::len`] or the structure is broken. Cost: a look at
    /// all of it.
    pub fn reachable(&self) -> usize {
        let is_live = |node: u32| self.points.is_held(node) && self.is_visible(node);
        self.structure.reached(&self.points, is_live) + self.queue.live()
    }
}

fn equal_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
