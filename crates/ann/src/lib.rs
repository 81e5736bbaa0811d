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
