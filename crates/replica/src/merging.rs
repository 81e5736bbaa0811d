//! Graph work beside those that read.

use meridian_shard::State;
use parking_lot::RwLockUpgradableReadGuard;

use crate::{Backlog, Replica};

/// Vectors that wait, from which on they are worth more than the moments of others.
const MANY: usize = 1024;

impl Replica {
    /// Merges one waiting vector into its graph. Call it when nothing else is to be done.
    ///
    /// Its place is sought while others read. To link it in they must be gone, and who comes while that is waited for waits as long:
    /// behind the slowest search there is. So it is not waited for before many vectors wait.
    pub fn idle(&mut self) -> Backlog {
        let state = self.state.upgradable_read();
        if !state.can_merge_index() {
            return Backlog::None;
        }
        let place = self.place.take().or_else(|| state.prepare_index());
        let mut state = match RwLockUpgradableReadGuard::try_upgrade(state) {
            Ok(state) => state,
            Err(state) if state.pending_index() >= MANY => RwLockUpgradableReadGuard::upgrade(state),
            Err(_) => {
                self.place = place;
                return Backlog::Waiting;
            }
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
