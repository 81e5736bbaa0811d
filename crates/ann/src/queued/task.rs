//! Work between two blocks: lists to be learnt, a curve to be drawn. A piece of it is done while others search, who see nothing
//! of it; when all are done, the index goes by what came of them.

use std::sync::PoisonError;

use crate::space::Space;
use crate::structure::Structure;
use crate::tuning::Drawing;

use super::Queued;

/// What is being worked on.
enum Task<L> {
    Learn(L),
    Draw(Drawing),
}

/// How far it has come.
pub(super) struct Progress<L> {
    task: Option<Task<L>>,
    /// Pieces that count as steps taken, of all tasks so far.
    taken: usize,
    /// Whether the piece after them, which is done, was the last of its task; none until it is done.
    done: Option<bool>,
}

impl<L> Default for Progress<L> {
    fn default() -> Self {
        Self { task: None, taken: 0, done: None }
    }
}

impl<S: Structure> Queued<S> {
    /// Whether there is work before the next block.
    pub(super) fn has_work(&self) -> bool {
        self.surveys.is_empty() && (self.structure.is_due(&self.points) || self.is_curve_due())
    }

    /// Does the next piece of it, unless that is done and was not taken yet; returns its number.
    pub(super) fn work(&self, space: Space) -> usize {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Progress { task, taken, done } = &mut *progress;
        done.get_or_insert_with(|| {
            let begin = || {
                if self.structure.is_due(&self.points) {
                    Task::Learn(self.structure.learning(&self.points, space))
                } else {
                    Task::Draw(self.drawing())
                }
            };
            match task.get_or_insert_with(begin) {
                Task::Learn(learning) => self.structure.learn(learning, &self.points, space),
                Task::Draw(drawing) => {
                    self.draw(drawing, space);
                    drawing.is_done()
                }
            }
        });
        *taken + 1
    }

    /// Takes a piece as a step; false if it is not the one that was done last, or was taken.
    pub(super) fn take_work(&mut self, piece: usize) -> bool {
        let progress = self.progress.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(is_last) = progress.done.filter(|_| piece == progress.taken + 1) else { return false };
        (progress.taken, progress.done) = (piece, None);
        match progress.task.take_if(|_| is_last) {
            Some(Task::Learn(learning)) => self.structure.go_by(learning),
            Some(Task::Draw(drawing)) => self.curve = drawing.curve,
            None => {}
        }
        true
    }
}
