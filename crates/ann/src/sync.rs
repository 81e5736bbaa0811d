//! What [`crate::memory`] counts views with. `tests/views_model.rs` puts the model's in its place.

pub(crate) use std::sync::Arc;
