//! Graph work beside those that read.

use meridian_shard::Collection;

use crate::{Backlog, Replica};

/// Vectors that wait, from which on they are worth more than the moments of others.
const MANY: usize = 1_024;

/// Copies of rows, made because somebody may still look at the rows as they were, beyond which the work waits for those to end.
const COPIES: usize = 4_096;

impl Replica {
    /// Takes one step of the work that waiting vectors make. Call it when nothing else is to be done.
    pub fn idle(&mut self) -> Backlog {
        let Some(next) = self.state.next_to_merge() else { return Backlog::None };
        if next.copied() > COPIES {
            self.state.change().renew_view_of_next_to_merge();
            self.state.publish();
            if self.state.next_to_merge().is_some_and(|next| next.copied() > COPIES) {
                return Backlog::Waiting;
            }
        }
        self.state.merge();
        self.state.publish();
        // Of one collection: this is done for every vector, however many collections there are.
        match self.state.next_to_merge().map(Collection::pending) {
            None => Backlog::None,
            Some(MANY..) => Backlog::Long,
            Some(_) => Backlog::Short,
        }
    }
}

#[cfg(test)]
mod tests;
