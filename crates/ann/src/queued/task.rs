//! Work between two steps: lists to be learnt, searches to be tried for a curve. It is done in pieces; when all are done, the index
//! goes by what came of them.

use crate::edition::Edition;
use crate::space::Space;
use crate::structure::Structure;
use crate::tuning::Curve;

use super::Queued;
use super::draw::Drawing;

/// What is being worked on.
enum Task<L> {
    Learn(L),
    Draw(Box<Drawing>),
}

/// What is on its way.
pub(super) struct Progress<L>(Option<Task<L>>);

impl<L> Default for Progress<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: Structure> Queued<S> {
    /// Whether there is work before the next step.
    pub(super) fn has_work(&self) -> bool {
        self.has_to_work() || self.is_drawing_due()
    }

    /// Whether the next step cannot be taken before some work is done.
    pub(super) fn has_to_work(&self) -> bool {
        self.progress.0.is_some() || self.surveys.is_empty() && self.structure.is_due(&self.points)
    }

    /// Does a piece of it.
    pub(super) fn work(&mut self, space: Space) {
        let mut task = match self.progress.0.take() {
            Some(task) => task,
            None if self.structure.is_due(&self.points) => Task::Learn(self.structure.learning(&self.points, space)),
            None => Task::Draw(Box::new(self.drawing())),
        };
        let is_last = match &mut task {
            Task::Learn(learning) => self.structure.learn(learning, &self.points, space),
            Task::Draw(drawing) => {
                self.draw(drawing, space);
                drawing.is_done()
            }
        };
        match task {
            Task::Learn(learning) if is_last => {
                self.edition = Edition::new();
                self.structure.go_by(learning);
            }
            Task::Draw(drawing) if is_last => {
                if S::HOLDS_OUT {
                    self.curve = Curve::default();
                }
                self.curve.take_in(drawing.tally, self.points.len());
            }
            task => self.progress.0 = Some(task),
        }
    }
}
