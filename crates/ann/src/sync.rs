//! The reference counter of [`crate::memory`]; `tests/views_model.rs` replaces it by loom's.

pub(crate) use std::sync::Arc;
