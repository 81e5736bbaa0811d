//! The regions that hold the same data, and the topic to which a region publishes its writes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SecretRef;
use crate::patterns::{BROKERS, ENDPOINT, LABEL};

/// The regions that hold the same data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.regions.exists(r, r.name == self.primary.region)")
        .message("primary.region must be one of regions"),
    validation = Rule::new("size(self.regions) < 2 || has(self.secretRef)")
        .message("a group of several regions needs secretRef: all its regions must hold the same key"),
    validation = Rule::new("(has(self.writeMode) ? self.writeMode : 'SingleWriter') == (has(oldSelf.writeMode) ? oldSelf.writeMode : 'SingleWriter')")
        .message("writeMode cannot be changed")
)]
pub struct ReplicationGroup {
    /// Name of the group, the same in all its regions. Cannot be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("replicationGroup.name cannot be changed"))]
    pub name: String,

    /// The primary region, which accepts writes; other regions forward theirs to it. Cannot be changed yet.
    #[x_kube(validation = Rule::new("self == oldSelf").message("primary cannot be changed: switchover is not supported yet"))]
    pub primary: Primary,

    /// Regions that accept writes. `SingleWriter`: the primary region only. Default `SingleWriter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self != 'MultiWriter'").message("writeMode MultiWriter is not supported yet: use SingleWriter, where other regions forward writes to primary.region"))]
    pub write_mode: Option<WriteMode>,

    /// Secret in this namespace whose key `group-key` (at least 32 bytes) all regions of the group share; they
    /// authenticate with it. May be omitted while there is one region: the operator then creates `<cluster>-group-key`,
    /// to be copied to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// All regions of the group, this one included.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub regions: Vec<GroupRegion>,
}

/// The region that accepts writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Primary {
    /// Its name; it must be one of `regions`.
    #[schemars(length(min = 1, max = 32), regex(pattern = LABEL))]
    pub region: String,
}

/// One region of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupRegion {
    /// Its name: `spec.region` of the cluster there.
    #[schemars(length(min = 1, max = 32), regex(pattern = LABEL))]
    pub name: String,

    /// Address for the other regions, `host:port`: the Service `<cluster>-region` on port 8082, or a load balancer in
    /// front of it.
    #[schemars(length(min = 3, max = 259), regex(pattern = ENDPOINT))]
    pub endpoint: String,
}

/// Regions that accept writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WriteMode {
    /// One region at a time; other regions forward theirs to it.
    SingleWriter,
    /// Every region. Not supported yet.
    MultiWriter,
}

/// The topic to which this region publishes its writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeltaLog {
    /// A Kafka topic.
    pub kafka: KafkaLog,
}

/// A Kafka topic with one partition per shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaLog {
    /// Bootstrap brokers: `host:port`, several separated by commas.
    #[schemars(length(min = 3, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,

    /// The topic; it is created if it does not exist. Default `vector-deltas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub topic: Option<String>,
}
