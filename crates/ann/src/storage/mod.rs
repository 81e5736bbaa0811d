//! Vectors and the slots they belong to.
//!
//! - `points`: nodes, their vectors and slots; `slot_table`: nodes by slot;
//! - `vector_store`: vectors in memory or in a file; `datatype`: their components.

pub(crate) mod datatype;
pub(crate) mod points;
mod slot_table;
pub(crate) mod vector_store;
