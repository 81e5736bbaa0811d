//! Delta logs between regions, without I/O.
//!
//! Owns: [`follower`], which reads the logs of other regions' shards and proposes their deltas to this shard's group,
//! and [`server`], which serves this shard's log and relays calls to replicas of other shards. Independent of Raft,
//! sockets, brokers and clocks. Events are the input, [`Effect`]s the output; `Ctx` provides the state, and the log
//! behind a trait.
//!
//! ```text
//!   origin ──Records──► Follower ─► Link: LogFollower ──Batch──► Propose ──► (Raft) ──Applied──► credit
//!   broker ──Records──►              │ gap: read again; from a broker twice: origin fallback
//!                                    └ gone: re-seed
//!   other region ──Open──► Server ─► Stream ◄── Log, State
//!                           └ Relay ──► the replica of the right shard
//! ```
//!
//! Start reading at [`LogFollower`], then [`follower::Follower::handle`], then [`server::Server::handle`].

mod effect;
pub mod follower;
mod record;
pub mod server;

pub use effect::{Effect, Poison};
pub use follower::log_follower::{Batch, LogFollower, ReceiveOutcome};
pub use record::{Record, record_bytes};
