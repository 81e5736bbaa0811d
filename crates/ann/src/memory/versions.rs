//! Views of a table that are alive.

use std::collections::VecDeque;

use crate::sync::Arc;

/// The views issued by a writer, numbered from 1.
#[derive(Default)]
pub(crate) struct Versions {
    issued: u64,
    /// Views that were alive at the last check, and later ones, oldest first.
    alive: VecDeque<(u64, Arc<()>)>,
}

/// Keeps a view alive.
pub(crate) struct Token {
    _alive: Arc<()>,
}

impl Versions {
    /// Issues the next view.
    pub fn issue(&mut self) -> Token {
        self.issued += 1;
        let alive = Arc::new(());
        self.alive.push_back((self.issued, Arc::clone(&alive)));
        Token { _alive: alive }
    }

    /// Number of the last view issued; 0 before the first.
    pub fn last(&self) -> u64 {
        self.issued
    }

    /// Number of the oldest view alive; that of the next view if there is none. All reads by earlier views happen
    /// before this returns.
    pub fn oldest(&mut self) -> u64 {
        // `get_mut` and not a counter: it synchronizes with everything a view did before it was dropped.
        self.alive.retain_mut(|(_, alive)| Arc::get_mut(alive).is_none());
        self.alive.front().map_or(self.issued + 1, |(number, _)| *number)
    }
}
