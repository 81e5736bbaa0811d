//! Identity of an index state.

use std::sync::atomic::{AtomicU64, Ordering};

/// State of an index between two changes, as searches see it. A view has the revision of the index at its creation.
/// Unique over all indexes of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewRevision(u64);

static NEXT: AtomicU64 = AtomicU64::new(0);

impl ViewRevision {
    pub fn new() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
