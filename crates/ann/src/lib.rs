//! Nearest-neighbor search among vectors that change all the time.
//!
//! This crate owns distances and their kernels, quantization, exact search ([`Kind::Flat`]), HNSW graphs
//! ([`Kind::Hnsw`]), inverted lists with product codes ([`Kind::IvfPq`]), filtered search, and the snapshot format
//! (`snapshot/FORMAT.md`). It knows slots (`u32`) and vectors. It deliberately does not know point ids, payloads,
//! files, threads, clocks, the network, or replication.
//!
//! ```text
//!   upsert ─┐                             ┌─► write buffer (scanned exactly) ─┐
//!   delete ─┴─► Index ── BufferedIndex ───┤        merge, block by block      ├──► search ──► [Hit]
//!                 │                       └─► Hnsw (beam) or Ivf (lists) ─────┘
//!                 └───── Flat ──────────────► points (scanned exactly) ───────► search ──► [Hit]
//! ```
//!
//! # Guarantees
//!
//! - A write is visible to the next search, whatever [`Index::merge`] has done so far.
//! - A [`View`] never changes. Searches of a view take no lock that a writer holds (see `memory/mod.rs`).
//! - Graph and lists are a function of the configuration and of the sequence of upserts, deletes, batches
//!   ([`Index::extend`]) and [`Index::merge_all`]. They depend neither on when or how [`Index::merge`] was called, nor
//!   on threads or the instruction set (see `buffered/write_buffer.rs`).
//! - An answer has `k` points while `k` points match. `hnsw/spanning_tree.rs` states why every point is reachable.
//! - Bad input is a typed error or a documented result; a damaged snapshot is refused.
//!
//! Start reading at [`Index`] and [`View`], then `buffered/mod.rs`, `planner.rs`, `quantization/mod.rs`, `hnsw/mod.rs`
//! and `ivf/mod.rs`.

mod approximate_index;
mod bitset;
mod buffered;
mod filter;
mod flat;
mod hash;
mod hnsw;
mod index;
mod ivf;
mod kernels;
mod memory;
mod metric;
mod neighbor;
mod once_cell;
mod params;
mod planner;
mod quantization;
mod recall_model;
mod revision;
mod search_request;
mod selection;
mod snapshot;
mod storage;
mod sync;
#[cfg(test)]
mod testing;
mod view;

pub use filter::Filter;
pub use index::{Index, SearchError, Stats, UpsertError};
pub use kernels::{InstructionSet, Unsupported};
pub use metric::Metric;
pub use neighbor::Hit;
pub use params::{Config, ConfigError, Kind, Profile, Recall, SearchParams};
pub use snapshot::ReadError;
pub use storage::datatype::Datatype;
pub use storage::vector_store::VectorStorage;
pub use view::{Image, View};
