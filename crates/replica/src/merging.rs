//! Merges buffered vectors into graphs, concurrently with readers.

use meridian_shard::Collection;

use crate::{Backlog, Replica};

/// Number of buffered vectors from which on merging takes priority over idle work.
const MANY: usize = 1_024;

/// Number of copied rows, held for live views, above which merging waits for those views to end.
const COPIES: usize = 4_096;

impl Replica {
    /// Merges one step of buffered vectors. Call it when idle.
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
        // Counts one collection only: this runs for every vector, and must not depend on the number of collections.
        match self.state.next_to_merge().map(Collection::pending) {
            None => Backlog::None,
            Some(MANY..) => Backlog::Long,
            Some(_) => Backlog::Short,
        }
    }
}

#[cfg(test)]
mod tests;
