//! Which state of an index something was found in.

use std::sync::Arc;

/// What an index holds between two changes. Views are of the edition that they were made in.
#[derive(Default, Clone)]
pub(crate) struct Edition(Arc<()>);

impl Edition {
    /// Called with every change.
    pub fn end(&mut self) {
        // One that nobody knows needs no other name.
        if Arc::strong_count(&self.0) > 1 {
            *self = Self::default();
        }
    }

    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
