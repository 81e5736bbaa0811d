//! The `VectorCluster`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::patterns::{IMAGE, LABEL};
use crate::{
    Auth, CollectionDefaults, Cors, DeltaLog, FreshnessSpec, ReplicationGroup, Resources, Storage, Traffic, Upgrade,
    VectorClusterStatus,
};

/// A vector search cluster in one region.
///
/// Every shard is a group of replicas, one pod each, that agree on each write before it is acknowledged. Deleting the
/// resource keeps the volumes; applying it again under the same name restores all data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "meridiandb.io",
    version = "v1alpha1",
    kind = "VectorCluster",
    plural = "vectorclusters",
    shortname = "vcl",
    category = "meridian",
    namespaced,
    status = "VectorClusterStatus",
    derive = "PartialEq",
    printcolumn(name = "Region", json_path = ".spec.region", type_ = "string"),
    printcolumn(name = "Shards", json_path = ".spec.shards", type_ = "integer"),
    printcolumn(name = "Replicas", json_path = ".status.replicas", type_ = "integer", description = "Replicas of all shards"),
    printcolumn(name = "Ready", json_path = ".status.readyReplicas", type_ = "integer", description = "Replicas that serve"),
    printcolumn(name = "Status", json_path = ".status.conditions[?(@.type=='Ready')].reason", type_ = "string"),
    printcolumn(
        name = "Message",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        type_ = "string",
        priority = 1
    ),
    printcolumn(name = "Age", json_path = ".metadata.creationTimestamp", type_ = "date"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a VectorCluster must be a lower-case DNS label of at most 40 characters that starts with a letter: pods and Services are named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.shards * self.replicasPerShard <= 500")
        .message("shards times replicasPerShard must not exceed 500"),
    validation = Rule::new("!has(self.replicationGroup) || self.replicationGroup.regions.exists(r, r.name == self.region)")
        .message("replicationGroup.regions must name this cluster's own region"),
    validation = Rule::new("!has(oldSelf.replicationGroup) || has(self.replicationGroup)")
        .message("replicationGroup cannot be removed: other regions follow this one"),
    validation = Rule::new("!has(self.traffic) || !has(self.traffic.istio) || !has(self.traffic.istio.gateways) || has(self.traffic.istio.hosts)")
        .message("traffic.istio.gateways needs traffic.istio.hosts: a gateway cannot serve the cluster-internal name")
)]
pub struct VectorClusterSpec {
    /// Name of this region, as clients send it in `X-Region` and as other regions refer to it. Cannot be changed.
    #[schemars(length(min = 1, max = 32), regex(pattern = LABEL))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: the data on the volumes belongs to it"))]
    pub region: String,

    /// Number of shards over which the points are distributed, 1 to 256. Cannot be changed yet. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("shards cannot be changed: resharding is not supported yet"))]
    pub shards: i32,

    /// Copies of each shard: 1, 3 or 5. A write is acknowledged once a majority has it on disk. A change adds or removes
    /// replicas one at a time and restarts nothing. Volumes of removed replicas are kept. Default 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("replicasPerShard must be 1, 3 or 5: an even number adds cost and no safety"))]
    pub replicas_per_shard: i32,

    /// Container image of the data plane. A change restarts the pods one at a time. Default: the operator's own release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = IMAGE))]
    pub image: Option<String>,

    /// The volume of each replica.
    #[x_kube(validation = Rule::new("self == oldSelf").message("storage cannot be changed: volumes are made once and resizing is not supported yet"))]
    pub storage: Storage,

    /// CPU and memory of each pod. A change restarts the pods one at a time. Default: no requests and no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// The regions that hold the same data. Absent: this region has no others. It can be added later, not removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_group: Option<ReplicationGroup>,

    /// Publishes this region's writes to a broker, for links that read from one. Direct links do not need it. A change
    /// restarts the pods one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_log: Option<DeltaLog>,

    /// Freshness of requests that do not demand any. A change restarts the pods one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<FreshnessSpec>,

    /// Parameters of collections that are created without them. Existing collections keep theirs. A change restarts the
    /// pods one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_defaults: Option<CollectionDefaults>,

    /// Access to the API. Default: a key that the operator creates, in the Secret `<name>-api-key` under `api-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,

    /// Origins of web pages that may call the API from a browser. Default: none. A change restarts the pods one at a
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,

    /// When the region adopts the behavior version of a new release for good. Restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,

    /// Routes of a service mesh to this cluster. Restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}
