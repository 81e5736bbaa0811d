//! What the operator reports of a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is seen of a cluster, and what the operator has set out to do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The 128-bit name that the volumes bear; those of another cluster are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Hash of the last accepted spec, which the ConfigMap `<name>-accepted` keeps: while a newer one is refused, it is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_spec_hash: Option<String>,
    /// The operator's default image to which this cluster was brought, or for which it had nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_image: Option<String>,
    /// The rollout of another default image, while there is one; see the operator's `maxConcurrentRollouts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Replicas of all shards that the spec wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Replicas of these that serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// `Ready` sums up the others, which `docs/conditions.md` explains with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What is under way, and what each waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// What the operator must remember of each shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    pub shards: Vec<ShardStatus>,
}

/// A rollout that the operator's own change caused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The default image that is rolled out.
    pub image: String,
    /// When one more pod served with the new template, or the rollout began.
    pub last_progress_time: Time,
    /// Replicas that serve with the new template.
    pub updated_replicas: i32,
    /// The cluster was Ready before: should it stall, no other cluster begins.
    pub was_ready: bool,
}

/// One thing under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What is done: `Create`, `ScaleOut`, `ScaleIn`, `ReplaceReplica`, `RollingUpdate`, `StartPod`, `ElectLeader`, `UpdateLinks`.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it is done to: a StatefulSet or a pod.
    pub target: String,
    /// What it waits for; absent while it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<BlockedBy>,
}

/// A wait, by the name of what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// Name of what must become true, for example `QuorumSurvives`; `docs/conditions.md` lists them.
    pub predicate: String,
    /// The same in words.
    pub message: String,
}

/// What the operator must remember of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// The shard, from 1.
    pub shard: i32,
    /// Its Raft group was bootstrapped; that is never repeated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bootstrapped: bool,
    /// Replica ids of the first members, by pod ordinal, while the group is bootstrapped: written before the pods are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_replica_ids: Vec<i64>,
    /// The smallest replica id that was never allocated.
    pub next_replica_id: i64,
    /// A replica id that was allocated to a pod and is not in the group yet: written before the pod is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining_replica_id: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
