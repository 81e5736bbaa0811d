//! What the operator decides, as functions of values.
//!
//! Owns: parsed specs ([`ValidCluster`]), the next move ([`next_step`]), every object ([`render`]), what is reported
//! ([`report`]). Deliberately does not know: the API server, sockets, clocks, randomness: they come in as arguments.
//!
//! ```text
//!   VectorCluster + links ──parse──► ValidCluster ─┬─► next_step(Observed) ──► Step { ledgers, replicas, act, operations }
//!                                                  ├─► render(Step) ──► objects, applied server-side
//!                                                  └─► report(Observed, Step) ──► status
//! ```
//!
//! Start reading at [`next_step`], then `step/shard.rs`.

pub mod adoption;
pub mod certificates;
pub mod difference;
pub mod names;
mod observed;
pub mod ownership;
mod placement;
pub mod render;
pub mod report;
pub mod rolls;
mod step;
mod valid;

pub use observed::{
    Apis, ExpectedKeys, Observed, ObservedPod, ObservedShard, ObservedStatefulSet, ReplicaIdAllocator, Secrets,
};
pub use placement::Placement;
pub use render::{OfflineError, mirror_maker_offline, render_offline};
pub use step::{Act, RefusedAct, ShardMove, Step, next_shard_move, next_step};
pub use valid::{
    AllowedHost, ApiKey, Kafka, MirrorMaker, Refusal, Settings, ValidCluster, ValidGroup, ValidIstio, ValidLink,
};

#[cfg(test)]
mod fixtures;
