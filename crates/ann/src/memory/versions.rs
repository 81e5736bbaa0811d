//! Which views of something are still there.

use std::collections::VecDeque;

use crate::sync::Arc;

/// The views that a writer has given out, numbered from 1.
#[derive(Default)]
pub(crate) struct Versions {
    given: u64,
    /// Those that were there when it was last asked, and later ones, oldest first.
    there: VecDeque<(u64, Arc<()>)>,
}

/// What a view holds as long as it looks.
pub(crate) struct Token {
    _there: Arc<()>,
}

impl Versions {
    /// Gives out the next view.
    pub fn give(&mut self) -> Token {
        self.given += 1;
        let there = Arc::new(());
        self.there.push_back((self.given, Arc::clone(&there)));
        Token { _there: there }
    }

    /// The number of the last view given out; 0 before the first.
    pub fn last(&self) -> u64 {
        self.given
    }

    /// The oldest view that is there; where none is, the next to be given out. All that views before it have read, they read before
    /// this returns.
    pub fn oldest(&mut self) -> u64 {
        // Not by counting: what a view did before it let go is to have happened.
        self.there.retain_mut(|(_, there)| Arc::get_mut(there).is_none());
        self.there.front().map_or(self.given + 1, |(number, _)| *number)
    }
}
