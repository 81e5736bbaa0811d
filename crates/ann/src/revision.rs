//! Which state of an index something was found in.

use std::sync::atomic::{AtomicU64, Ordering};

/// What searches see of an index between two changes. Views are of the edition that they were made in; no two indexes have the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewRevision(u64);

static NEXT: AtomicU64 = AtomicU64::new(0);

impl ViewRevision {
    pub fn new() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
