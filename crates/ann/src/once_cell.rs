//! What is found out when somebody needs it, and stays.

use std::sync::OnceLock;

/// A value that may be there already. Nobody waits for it: two who need it at once both find it out.
pub(crate) struct RacyOnceCell<T>(OnceLock<T>);

impl<T> Default for RacyOnceCell<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> RacyOnceCell<T> {
    /// As it was first found.
    pub fn get_or_compute(&self, compute: impl FnOnce() -> T) -> &T {
        if self.0.get().is_none() {
            _ = self.0.set(compute());
        }
        self.0.get().expect("a value was just set by this or another thread")
    }
}
