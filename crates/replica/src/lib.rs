//! One replica of one shard, and its gateway, as one machine without I/O.
//!
//! Owns every decision of the data plane: it stamps, proposes, applies, states completeness, reads by index, chases other
//! regions' logs, judges freshness, forwards. Deliberately does not know: sockets, clocks, threads, disks, Kubernetes. Time,
//! randomness and what arrived come in as [`Event`]s; what is to be done goes out as [`Command`]s. `node` feeds it on real
//! machines, `sim` on a virtual clock, network and disk.
//!
//! ```text
//!   Client ─► gateway ──ShardCall──► shard_calls ─► raft ─► Persist
//!     ▲          │ scatter, retry,        reads ─┐    │ committed
//!     │ Reply    ▼ fall back              ▲      ▼    ▼
//!     └──────── merge ◄──ReadPart──── freshness  apply ─► State
//!                                                     │
//!   other region ◄──tails (serve)─────────────────────┤
//!   other region ──►links (chase) ─► raft             └─► snapshots
//! ```
//!
//! Start reading at [`Replica::step`], then `gateway`, then `consensus`.

mod clock;
mod completeness;
mod consensus;
mod counters;
mod drain;
mod event;
mod gateway;
mod healing;
mod injection;
mod links;
mod log;
mod log_bytes;
mod memory;
mod merging;
mod nodes;
mod published;
mod reads;
mod reconcile;
mod replica;
mod restore;
mod settings;
mod shard_calls;
mod snapshots;
mod space;
mod tails;
#[cfg(test)]
mod testing;
mod topology;
mod wall_clock;

pub use counters::Counters;
pub use event::{Backlog, Command, Event, HandOverCause, LinkStatus, Now, Peer, Poison, ReadResult, ReadWhat, Traced};
#[cfg(feature = "fault-injection")]
pub use injection::InjectedBug;
pub use links::record_bytes;
pub use log::{LogRecord, RecordError};
pub use meridian_tail::Record;
pub use published::Views;
pub use reads::{execute, steps};
pub use replica::Replica;
pub use restore::{Found, FoundSnapshot, RestoreError, shard_identity};
pub use settings::{DiskReserve, Settings};
pub use snapshots::{SnapshotMeta, SnapshotMetaError};
