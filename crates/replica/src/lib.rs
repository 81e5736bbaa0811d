//! One replica of one shard, and its gateway, as one machine without I/O.
//!
//! Owns every decision of the data plane: it stamps, proposes, applies, states completeness, reads by index, follows other
//! regions' logs, judges freshness, forwards. Deliberately does not know: sockets, clocks, threads, disks, Kubernetes. Time,
//! randomness and what arrived come in as [`Event`]s; what is to be done goes out as [`Command`]s. `node` feeds it on real
//! machines, `sim` on a virtual clock, network and disk.
//!
//! ```text
//!   Client ─► gateway ──ShardCall──► writes ──────► raft ─► Persist
//!     ▲          │ scatter, retry,        reads ─┐    │ committed
//!     │ Reply    ▼ fall back              ▲      ▼    ▼
//!     └──────── merge ◄──ReadPart──── freshness  apply ─► State
//!                                                     │
//!   other region ◄──server ───────────────────────────┤
//!   other region ──►follower ───────► raft            └─► snapshots
//! ```
//!
//! A part is a struct with private fields that handles events and returns effects. Parts do not call each other: the machine
//! lends each what it needs (`Ctx`), tells it what follows from others (`Facts`), and performs its effects in order and
//! depth-first. Parts: `reads`, `positions`, `completeness`, `clock`, `snapshots`, `membership`, `divergence`, `collections`,
//! `drain`, `space`, `consensus`, `writes`, `versions`; the router of client requests is the crate `meridian-gateway`,
//! following other regions and serving them is `meridian-replication`.
//!
//! Start reading at [`Replica::step`], then `machine/dispatch`, then `reads` as an example of a part.

mod clock;
mod collections;
mod completeness;
mod consensus;
mod context;
mod counters;
mod divergence;
mod drain;
mod effect;
mod event;
mod execute;
mod injection;
mod log;
mod log_bytes;
mod log_entry;
mod machine;
mod membership;
mod memory;
mod merging;
mod positions;
mod proposal;
mod published;
mod reads;
mod restore;
mod settings;
mod snapshots;
mod space;
#[cfg(test)]
mod testing;
mod time;
mod versions;
mod waiting;
mod wall_clock;
mod writes;

pub use counters::Counters;
pub use event::{Backlog, Command, Event, HandOverCause, Now, ReadResult, ReadWhat, Traced};
pub use execute::{execute, steps};
#[cfg(feature = "fault-injection")]
pub use injection::InjectedBug;
pub use log::{LogRecord, RecordError};
pub use machine::Replica;
pub use meridian_proto::frame::Peer;
pub use meridian_replication::follower::LinkStatus;
pub use meridian_replication::{Poison, Record, record_bytes};
pub use published::Views;
pub use restore::{Found, FoundSnapshot, RestoreError, shard_identity};
pub use settings::{DiskReserve, Settings};
pub use snapshots::{SnapshotMeta, SnapshotMetaError};
