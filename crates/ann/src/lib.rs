//! Nearest neighbours among vectors that change all the time.
//!
//! Owns: the distances and their kernels, codes of vectors, exact search ([`Kind::Flat`]), the graph ([`Kind::Hnsw`]), inverted
//! lists with product codes ([`Kind::IvfPq`]), filtered search, and the bytes of an index at rest (`snapshot/FORMAT.md`). Deliberately
//! does not know: point ids, payloads, files, threads, clocks, the network, or who replicates what. It knows slots (`u32`)
//! and vectors.
//!
//! ```text
//!   upsert ─┐                      ┌─► queue (scanned exactly) ───┐
//!   delete ─┴─► Index ── Queued ───┤        merge, by blocks      ├──► search ──► [Hit]
//!                 │                └─► Graph (beam) or Ivf (lists)┘
//!                 └───── Flat ───────► points (scanned exactly) ──────► search ──► [Hit]
//! ```
//!
//! # What is promised
//!
//! - A write is visible to the next search, whatever [`Index::merge`] has done so far.
//! - A [`View`] says at any time what the index said when it was made. Searching it waits for nobody (see `memory/mod.rs`).
//! - Graph and lists are a function of the configuration and of the sequence of upserts, deletes, batches ([`Index::extend`]) and
//!   [`Index::merge_all`] alone: not of when [`Index::merge`] was called, with which numbers, nor of threads or the instruction set
//!   (see `queue.rs`).
//! - An answer is never short while points that match exist (see `hnsw/tree.rs` for why every point can be reached).
//! - Bad input is a typed error or a result that the item documents; a damaged snapshot is refused.
//!
//! Start reading at [`Index`] and [`View`], then `queued/mod.rs`, `codes/mod.rs`, `hnsw/mod.rs` and `ivf/mod.rs`.

mod bitset;
mod codes;
mod comparison;
mod config;
mod datatype;
mod edition;
mod filter;
mod flat;
mod held_back;
mod hnsw;
mod index;
mod ivf;
mod kernels;
mod memory;
mod mix;
mod near;
mod once;
mod originals;
mod points;
mod queue;
mod queued;
mod slots;
mod snapshot;
mod space;
mod structure;
mod sync;
#[cfg(test)]
mod testing;
mod tuning;
mod view;

pub use config::{Config, ConfigError, Kind, Metric, Profile};
pub use datatype::Datatype;
pub use filter::Filter;
pub use index::{Index, Recall, SearchError, SearchParams, Stats, UpsertError};
pub use kernels::{InstructionSet, Unsupported};
pub use near::Hit;
pub use originals::VectorStorage;
pub use snapshot::ReadError;
pub use view::{Image, View};
