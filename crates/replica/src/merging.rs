//! Graph work beside those that read.

use crate::{Backlog, Replica};

/// Vectors that wait, from which on they are worth more than the moments of others.
const MANY: usize = 1_024;

/// Copies of rows, made because somebody may still look at the rows as they were, beyond which the work waits for those to end.
const COPIES: usize = 4_096;

impl Replica {
    /// Takes one step of the work that waiting vectors make. Call it when nothing else is to be done.
    pub fn idle(&mut self) -> Backlog {
        if !self.state.can_merge_index() {
            return Backlog::None;
        }
        if self.state.copied() > COPIES {
            self.state.change().look_anew(COPIES);
            self.state.publish();
            if self.state.copied() > COPIES {
                return Backlog::Waiting;
            }
        }
        self.state.merge();
        self.state.publish();
        match self.state.pending_index() {
            _ if !self.state.can_merge_index() => Backlog::None,
            MANY.. => Backlog::Long,
            _ => Backlog::Short,
        }
    }
}

#[cfg(test)]
mod tests;
