//! Consensus without I/O: the library raft-rs behind a seam of our own.
//!
//! Owns: elections, replication, membership, read indexes, the in-memory log and the bytes that replicas send each
//! other. Knows nothing of vectors, deltas, sockets, files or clocks: payloads are opaque bytes, time is [`Raft::tick`],
//! randomness is its argument, and the same calls always give the same outputs. No type of raft-rs leaves this crate.
//!
//! ```text
//!   tick, step, propose, read_index, …          output()            the replica
//!  ────────────────────────────────────► Raft ──────────► Output ─┬─ messages ................ send now
//!                 ▲      ▲                                        ├─ snapshot, entries, hard state: write, fsync
//!                 │      └────────── persisted(number) ◄──────────┤     then messages_after_persist
//!                 └───────────────── applied(index)    ◄──────────┴─ committed ............... apply in order
//! ```
//!
//! A leader's appends are in `messages`, so they leave before its own fsync; a follower's acknowledgement and every
//! vote are in `messages_after_persist`. Committed entries are handed out only once they are durable here as well.
//!
//! Start reading at [`Raft`], then [`Output`]. The formats are drawn in `docs/format.md` of this crate.

mod codec;
mod config;
mod entry;
mod hard_state;
mod log;
mod machine;
mod members;
mod message;
mod restored;
mod snapshot;

pub use codec::DecodeError;
pub use config::Config;
pub use entry::{Change, Entry, EntryKind};
pub use hard_state::HardState;
pub use machine::{
    ChangeError, Compacted, Envelope, Ignored, Installation, MembershipError, NotReady, Output, Peer, PeerState,
    ProposeError, Proposed, Raft, Role, RoleChange, Status, StepError, Stepped, TransferError, UnknownIndex,
};
pub use members::Members;
pub use message::{MAX_READ_CONTEXTS, carries_entries};
pub use restored::{RestoreError, Restored};
pub use snapshot::Snapshot;
