//! Raft consensus without I/O: a wrapper of raft-rs.
//!
//! Owns: elections, replication, membership, read indexes, the in-memory log and the bytes of Raft messages.
//! Deliberately does not know: vectors, deltas, sockets, files, clocks. Payloads are opaque bytes, time is
//! [`Raft::tick`], randomness is its argument, and equal calls give equal outputs. No type of raft-rs is visible
//! outside of this crate.
//!
//! ```text
//!   tick, step, propose, read_index, …          output()            the replica
//!  ────────────────────────────────────► Raft ──────────► Output ─┬─ messages ................ send now
//!                 ▲      ▲                                        ├─ snapshot, entries, hard state: write, fsync
//!                 │      └────────── persisted(number) ◄──────────┤     then messages_after_persist
//!                 └───────────────── applied(index)    ◄──────────┴─ committed ............... apply in order
//! ```
//!
//! A leader's appends are in `messages`, sent before its own fsync; a follower's acknowledgements and all votes are in
//! `messages_after_persist`. Committed entries are output only once they are durable here as well.
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
    ProposeError, Proposed, Raft, Role, RoleChange, Status, StepError, StepOutcome, TransferError, UnknownIndex,
};
pub use members::Members;
pub use message::{MAX_READ_CONTEXTS, carries_entries, split_read_number};
pub use restored::{RestoreError, Restored};
pub use snapshot::Snapshot;
