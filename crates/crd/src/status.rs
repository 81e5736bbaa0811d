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
    pub accepted_spec: Option<String>,
    /// The operator's default image to which this cluster was brought, or for which it had nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_image: Option<String>,
    /// The slot that this cluster holds while it rolls to another default image; see the operator's `maxConcurrentRolls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<RollStatus>,
    /// Replicas ready of replicas wanted, `6/6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// `Ready`, `Accepted`, `Available`, `Progressing`, `Degraded`, `DependenciesReady`.
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

/// A roll that the operator's own change caused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollStatus {
    /// The default image to which it rolls.
    pub image: String,
    /// When one more pod served with the new template, or the roll began.
    pub progress_at: Time,
    /// Pods that serve with the new template.
    pub updated: i32,
    /// The cluster was Ready before: should it stall, no other cluster begins.
    pub was_ready: bool,
}

/// One thing under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What is done: `Create`, `ScaleOut`, `ScaleIn`, `Replace`, `Roll`.
    pub kind: String,
    /// What it is done to: a StatefulSet or a pod.
    pub target: String,
    /// What it waits for; absent while it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<BlockedBy>,
}

/// A wait, by the name of what would end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// Name of what must become true, for example `QuorumSurvives`.
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
    /// Its group was founded; it is never founded again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub founded: bool,
    /// Replica ids of the founders, by pod ordinal, while the group is being founded: written before the pods are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub founding: Vec<i64>,
    /// The smallest replica id never given out.
    pub next_replica: i64,
    /// A replica id that was given to a pod and is not in the group yet: written before the pod is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
