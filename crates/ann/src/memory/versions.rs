//! Which views of something are still there.

use std::collections::VecDeque;

use crate::sync::Arc;

/// The views that a writer has given out, numbered from 1.
#[derive(Default)]
pub(crate) struct Versions {
    issued: u64,
    /// Those that were there when it was last asked, and later ones, oldest first.
    alive: VecDeque<(u64, Arc<()>)>,
}

/// What a view holds as long as it looks.
pub(crate) struct Token {
    _alive: Arc<()>,
}

impl Versions {
    /// Gives out the next view.
    pub fn issue(&mut self) -> Token {
        self.issued += 1;
        let alive = Arc::new(());
        self.alive.push_back((self.issued, Arc::clone(&alive)));
        Token { _alive: alive }
    }

    /// The number of the last view given out; 0 before the first.
    pub fn last(&self) -> u64 {
        self.issued
    }

    /// The oldest view that is there; where none is, the next to be given out. All that views before it have read, they read before
    /// this returns.
    pub fn oldest(&mut self) -> u64 {
        // Not by counting: what a view did before it let go is to have happened.
        self.alive.retain_mut(|(_, alive)| Arc::get_mut(alive).is_none());
        self.alive.front().map_or(self.issued + 1, |(number, _)| *number)
    }
}
