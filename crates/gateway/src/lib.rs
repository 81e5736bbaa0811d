//! The request router of a pod, without I/O: distributes client requests over the shards of the region, retries, and
//! merges. Every pod accepts every request.
//!
//! Owns sub-requests, deadlines, retries, fallbacks of reads, forwarding to the primary region, and the [`Directory`]
//! of the region's replicas. Does not know Raft, the state of a shard, sockets or clocks. Input is [`Event`], output is
//! [`Effect`], and [`Ctx`] lends a view of the cluster.
//!
//! ```text
//!   Request ──► Phase: sub-requests to shards ──► answers ──► next Phase … ──► Reply
//!                 │ no answer, refused for the moment: sent again, to the leader or to another replica
//!                 └ stale: the next fallback; relay to the primary region, or wait
//! ```
//!
//! Calls are idempotent (writes by their id), so a call without a usable answer is repeated until the client's
//! deadline. The first answer counts, regardless of its attempt. Each call carries the remaining time, and an abandoned
//! read is cancelled where it runs.
//!
//! A change is refused with a retryable status only if each of its attempts was refused: then nothing was proposed
//! anywhere. Otherwise its outcome is unknown.
//!
//! Start reading at [`Gateway::handle`], then `sub_requests`, then `reads` and `writes`.

mod collections;
mod context;
mod directory;
mod evaluated;
mod event;
mod filtered;
mod gateway;
mod merge;
mod pending;
mod reads;
mod region;
mod settings;
mod sub_requests;
mod versions;
mod visible;
mod writes;

pub use context::{Ctx, Time};
pub use directory::Directory;
pub use event::{Caller, Effect, Event, Step};
pub use gateway::Gateway;
pub use settings::{InjectedBug, Settings};
pub use versions::GroupVersions;

pub(crate) use pending::Phase;
