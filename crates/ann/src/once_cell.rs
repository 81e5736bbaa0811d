//! Lock-free lazy initialization.

use std::sync::OnceLock;

/// A value that is computed on first use. It never blocks: two threads that need it at once both compute it, and one
/// result stays.
pub(crate) struct RacyOnceCell<T>(OnceLock<T>);

impl<T> Default for RacyOnceCell<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> RacyOnceCell<T> {
    /// The value; `compute` runs if there is none yet.
    pub fn get_or_compute(&self, compute: impl FnOnce() -> T) -> &T {
        if self.0.get().is_none() {
            _ = self.0.set(compute());
        }
        self.0.get().expect("a value was just set by this or another thread")
    }
}
