//! Work between two merge steps: training and probes. It runs in small units; the index uses the result when all are
//! done.

use crate::approximate_index::RecallTunable;
use crate::metric::Space;
use crate::recall_model::RecallModel;
use crate::recall_model::probe::ProbeRun;
use crate::revision::ViewRevision;

use super::BufferedIndex;

/// Work in progress.
enum Task<L> {
    Train(L),
    Probe(Box<ProbeRun>),
}

/// The task in progress, if any.
pub(super) struct Progress<L>(Option<Task<L>>);

impl<L> Default for Progress<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: RecallTunable> BufferedIndex<S> {
    /// Whether there is work before the next step.
    pub(super) fn has_work(&self) -> bool {
        self.has_mandatory_work() || self.probes().are_due(&self.recall_model, self.insert_plans.is_empty())
    }

    /// Whether the next step must wait for work.
    pub(super) fn has_mandatory_work(&self) -> bool {
        self.progress.0.is_some() || self.insert_plans.is_empty() && self.index.needs_training(&self.points)
    }

    /// Runs one unit of it.
    pub(super) fn work(&mut self, space: Space) {
        let mut task = match self.progress.0.take() {
            Some(task) => task,
            None if self.index.needs_training(&self.points) => {
                Task::Train(self.index.begin_training(&self.points, space))
            }
            None => Task::Probe(Box::new(self.probes().begin())),
        };
        let is_last = match &mut task {
            Task::Train(training) => self.index.train_step(training, &self.points, space),
            Task::Probe(run) => {
                self.probes().step(run, space);
                run.is_done()
            }
        };
        match task {
            Task::Train(training) if is_last => {
                self.revision = ViewRevision::new();
                self.index.install(training);
            }
            Task::Probe(run) if is_last => {
                if S::HAS_HOLDOUT {
                    self.recall_model = RecallModel::default();
                }
                self.recall_model.add_sample(run.sample, self.points.len());
            }
            task => self.progress.0 = Some(task),
        }
    }
}
