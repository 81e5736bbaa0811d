//! The state of one replica: applies committed entries in order and answers searches.
//!
//! Owns: log entries ([`Entry`]), their effect on points, collections, sequences and version vector ([`State::apply`]),
//! reads ([`View::read`]), two hashes ([`State::digest`], [`State::checksum`]) and snapshots. Does not know consensus,
//! clocks, files or sockets.
//!
//! ```text
//!   Entry ──apply──► State ──view──► View ──read──► Answer
//!     │                ├──digest / checksum
//!     │                ├──snapshot ⇄ restore
//!     └─State::deltas_of └──seed_chunk ──► Entry::Seed of another region
//! ```
//!
//! Replicas of a shard that applied the same entries hold the same state: applying uses no time, no randomness and no
//! hash-map order. The graphs of collections are the exception: the shell merges vectors into them when it has time
//! ([`State::merge_index`]), and a search finds a point whether or not it is in the graph.
//!
//! Start reading at [`Entry`], then [`State::apply`], then [`View::read`].

mod apply;
mod check;
mod checksum;
mod collection;
mod collections;
mod conditional;
mod deltas;
mod digest;
mod entry;
mod filter;
mod meter;
mod outbox;
mod outcome;
mod payload;
mod read;
mod records;
mod remote;
mod seed;
mod seek;
mod slots;
mod snapshot;
mod state;
mod vectors;
mod view;
mod write_ids;

#[cfg(test)]
mod fixture;

pub use meridian_model::Stamp;

pub use check::{MAX_VECTORS, OpError};
pub use collection::Collection;
pub use conditional::{ConditionalWrite, MAX_CONDITIONAL_CHANGES};
pub use digest::Digest;
pub use entry::{
    DecodeError, Entry, FORMAT_VERSION, Links, RemoteBatch, SeedPoint, SeedStep, SourcePosition, Topology, Write,
};
pub use meter::Stop;
pub use outbox::Located;
pub use outcome::{Applied, CollectionChange, Merged, Outcome};
pub use read::ReadError;
pub use seed::{SeedChunk, SeedCursor};
pub use snapshot::{Image, ImageFile, RestoreError};
pub use state::{Identity, State};
pub use vectors::TooLong;
pub use view::{CollectionView, Matches, View};
pub use write_ids::WriteResult;
