//! The state, and what those see of it who read beside the machine.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meridian_shard::{Image, State, View};

/// Steps of graph work after which readers get to see what was done. Until then they compare with what waited, one by one, as they
/// did.
const STEPS_A_VIEW: usize = 16;

/// A state that only the machine changes, and reads. Others read the newest view of it: they wait for nobody, and nobody for them.
pub(crate) struct Published {
    state: State,
    views: Arc<Views>,
    /// The newest view is of a state before this one.
    is_behind: bool,
    /// Steps of graph work that it is behind by.
    steps: usize,
}

/// Where the newest view is found.
pub struct Views(ArcSwap<View>);

impl Views {
    /// The state as it was when the machine last returned, or later.
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

    /// To be changed. Nobody else sees it before [`Self::publish`].
    pub(crate) fn change(&mut self) -> &mut State {
        self.is_behind = true;
        &mut self.state
    }

    /// All of it, to be written on another thread.
    pub(crate) fn image(&mut self) -> Image {
        self.state.image()
    }

    /// Takes a step of graph work, which changes no answer but when it comes.
    pub(crate) fn merge(&mut self) {
        self.steps += self.state.merge_index(1);
        self.is_behind |= self.steps >= STEPS_A_VIEW || self.state.next_to_merge().is_none();
    }

    /// Lets everybody see what was changed.
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
