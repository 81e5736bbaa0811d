//! The status of a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::UpgradeStatus;
use crate::conditions::Type;

/// The observed state of a cluster, and the operator's operations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorClusterStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The 128-bit id on the volumes; volumes with another id are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Hash of the last accepted spec, which the ConfigMap `<name>-accepted` holds. It stays in effect while a newer
    /// spec is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_spec_hash: Option<String>,
    /// The operator's default image that this cluster runs, or that it did not need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_image: Option<String>,
    /// The rollout of another default image, if one is in progress; see the operator's `maxConcurrentRollouts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Behavior versions of the shards and of the pods, and the images that pods ran; `docs/upgrades.md` explains them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// Number of replicas of all shards in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of these replicas that serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// `Ready` summarizes the others; `docs/conditions.md` explains them with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Operations in progress, with the conditions that they wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Replica ids of each shard, which the operator must not lose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    pub shards: Vec<ShardStatus>,
}

impl VectorClusterStatus {
    /// The condition of a type; `None` before the operator has written it.
    #[must_use]
    pub fn condition(&self, type_: Type) -> Option<&Condition> {
        self.conditions.iter().find(|condition| type_ == *condition.type_)
    }
}

/// A rollout caused by the operator's own change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The default image of the rollout.
    pub image: String,
    /// Time at which the last pod began to serve with the new template, or the rollout began.
    pub last_progress_time: Time,
    /// Replicas that serve with the new template.
    pub updated_replicas: i32,
    /// The cluster was Ready before: if the rollout stalls, no other cluster begins.
    pub was_ready: bool,
}

/// An operation in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its type: `Create`, `ScaleOut`, `ScaleIn`, `ReplaceReplica`, `RollingUpdate`, `StartPod`, `ElectLeader`,
    /// `UpdateLinks`, `Finalize`, `Publish`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its target: a StatefulSet or a pod.
    pub target: String,
    /// The condition that it waits for; absent while it makes progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<BlockedBy>,
}

/// A condition that an operation waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// Name of the predicate that must become true, for example `QuorumSurvives`; `docs/conditions.md` lists them.
    pub predicate: String,
    /// Explanation for users.
    pub message: String,
}

/// Replica ids of one shard.
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
