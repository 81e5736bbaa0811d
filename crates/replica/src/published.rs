//! The state, and the published view of it for reader threads.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meridian_shard::{Image, State, View};

/// Number of merge steps between two published views. Until then readers scan the buffered vectors.
const STEPS_A_VIEW: usize = 16;

/// State owned by the machine. Other threads read the newest view, lock-free in both directions.
pub(crate) struct Published {
    state: State,
    views: Arc<Views>,
    /// The newest view is older than the state.
    is_behind: bool,
    /// Number of merge steps since the newest view.
    steps: usize,
}

/// Handle to the newest view.
pub struct Views(ArcSwap<View>);

impl Views {
    /// Returns the state as of the last completed step of the machine, or later.
    #[must_use]
    pub fn newest(&self) -> Arc<View> {
        self.0.load_full()
    }
}

impl Published {
    pub(crate) fn new(mut state: State) -> Self {
        let views = Arc::new(Views(ArcSwap::from_pointee(state.view())));
        Self { state, views, is_behind: false, steps: 0 }
    }

    /// Returns the state for changes, which are invisible to readers until [`Self::publish`].
    pub(crate) fn change(&mut self) -> &mut State {
        self.is_behind = true;
        &mut self.state
    }

    /// Returns an image of the state, to be written on another thread.
    pub(crate) fn image(&mut self) -> Image {
        self.state.image()
    }

    /// Performs one merge step, which changes the latency of searches, not their results.
    pub(crate) fn merge(&mut self) {
        self.steps += self.state.merge_index(1);
        self.is_behind |= self.steps >= STEPS_A_VIEW || self.state.next_to_merge().is_none();
    }

    /// Publishes a new view if the state has changed.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.is_behind) {
            self.steps = 0;
            self.views.0.store(Arc::new(self.state.view()));
        }
    }

    pub(crate) fn views(&self) -> Arc<Views> {
        Arc::clone(&self.views)
    }
}

impl Deref for Published {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}
