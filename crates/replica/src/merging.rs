//! Graph work beside those that read.

use meridian_shard::State;

use crate::{Backlog, Replica};

/// Vectors that wait, from which on they are worth more than the moments of others.
const MANY: usize = 1024;

impl Replica {
    /// Takes one step of the work that waiting vectors make. Call it when nothing else is to be done.
    ///
    /// What can be is done while others read. To take it in they must be gone, which is not waited for before many vectors wait.
    pub fn idle(&mut self) -> Backlog {
        let state = self.state.read();
        if !state.can_merge_index() {
            return Backlog::None;
        }
        let place = self.place.take().or_else(|| state.prepare_index());
        let can_wait = state.pending_index() < MANY;
        drop(state);
        // Nobody else writes; if one did, the place would be refused.
        let mut state = match self.state.try_write() {
            Some(state) => state,
            None if can_wait => {
                self.place = place;
                return Backlog::Waiting;
            }
            None => self.state.write(),
        };
        match place {
            Some(place) => state.merge_prepared(place),
            None => _ = state.merge_index(1),
        }
        match state.pending_index() {
            MANY.. => Backlog::Long,
            _ if state.can_merge_index() => Backlog::Short,
            _ => Backlog::None,
        }
    }

    /// Puts another state in the place of this one.
    pub(crate) fn replace_state(&mut self, state: State) {
        // A place in the graph of the old one is none in that of the new.
        self.place = None;
        *self.state.write() = state;
    }
}

#[cfg(test)]
mod tests;
