//! Decisions of the operator, as functions of values.
//!
//! Owns: parsed specs ([`ValidCluster`]), the next step ([`next_step`]), every object ([`render`]), statuses
//! ([`report`]). Does not depend on the API server or sockets; times and random values are arguments.
//!
//! ```text
//!   VectorCluster + links ──parse──► ValidCluster ─┬─► next_step(Observed) ──► Step { allocators, replicas, act, operations, upgrade }
//!                                                  ├─► render(Step) ──► objects, applied server-side
//!                                                  └─► report(Observed, Step) ──► status
//! ```
//!
//! Start reading at [`next_step`], then `step/shard.rs`.

pub mod adoption;
pub mod certificates;
pub mod difference;
mod duration;
pub mod names;
mod observed;
pub mod ownership;
mod placement;
pub mod render;
pub mod report;
pub mod rolls;
mod step;
pub mod upgrade;
mod valid;

pub use duration::parse_duration;
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
