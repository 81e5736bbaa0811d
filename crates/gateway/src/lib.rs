//! The request router of a pod, without I/O: what clients ask of the region, whichever pod they ask, is spread over the
//! shards, retried, and merged.
//!
//! Owns sub-requests, deadlines, retries, fallbacks of reads, relaying to the primary region, and the [`Directory`] of the
//! region's replicas. Deliberately does not know: Raft, the state of a shard, sockets, clocks. [`Event`]s go in, [`Effect`]s
//! come out, and [`Ctx`] lends a view of the cluster.
//!
//! ```text
//!   Request ──► Phase: sub-requests to shards ──► answers ──► next Phase … ──► Reply
//!                 │ no answer, refused for the moment: sent again, to the leader or to another replica
//!                 └ stale: the next fallback; relay to the primary region, or wait
//! ```
//!
//! Calls are harmless when repeated (writes by their id), so a call without a good answer is sent again until the client's
//! time is over. The first answer counts, whichever attempt it belongs to. Each call carries the time that is left, and a
//! read that nobody waits for is cancelled where it runs.
//!
//! A change is refused, so that clients and meshes repeat it, only if each of its attempts was: then nothing was proposed
//! anywhere. Else its outcome is unknown.
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
mod visible;
mod writes;

pub use context::{Ctx, Time};
pub use directory::Directory;
pub use event::{Caller, Effect, Event, Step};
pub use gateway::Gateway;
pub use settings::{InjectedBug, Settings};

pub(crate) use pending::Phase;
