//! What is found out when somebody needs it, and stays.

use std::sync::OnceLock;

/// A value that may be there already. Nobody waits for it: two who need it at once both find it out.
pub(crate) struct Once<T>(OnceLock<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Once<T> {
    /// As it was first found.
    pub fn of(&self, find: impl FnOnce() -> T) -> &T {
        if self.0.get().is_none() {
            _ = self.0.set(find());
        }
        self.0.get().expect("it has just been set, by whomever")
    }
}
