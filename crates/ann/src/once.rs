//! What is found out once, when somebody needs it, and stays.

use std::sync::OnceLock;

/// A value that may be there. Nobody waits for it: two who need it at once both find it out.
pub(crate) struct Once<T>(OnceLock<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Once<T> {
    /// As it was first found.
    pub fn of(&self, find: impl FnOnce() -> T) -> &T {
        self.if_any(|| Some(find())).expect("it has just been found")
    }

    /// The same, unless it is not there and cannot be found either.
    pub fn if_any(&self, find: impl FnOnce() -> Option<T>) -> Option<&T> {
        if self.0.get().is_none() {
            _ = self.0.set(find()?);
        }
        self.0.get()
    }
}
