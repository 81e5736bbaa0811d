//! What [`crate::gate`] waits with. `tests/gate_model.rs` puts the model's in its place.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
