//! The `ReplicationLink`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patterns::{BROKERS, LABEL};

/// A link by which the cluster of this namespace follows another region. It belongs to the region that follows.
///
/// Deleting a link keeps the received data, whose staleness then grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "meridiandb.io",
    version = "v1alpha1",
    kind = "ReplicationLink",
    plural = "replicationlinks",
    shortname = "rlink",
    category = "meridian",
    namespaced,
    status = "ReplicationLinkStatus",
    derive = "PartialEq",
    printcolumn(name = "Source", json_path = ".spec.source.region", type_ = "string"),
    printcolumn(name = "Cluster", json_path = ".spec.clusterRef.name", type_ = "string"),
    printcolumn(name = "State", json_path = ".spec.state", type_ = "string"),
    printcolumn(name = "Status", json_path = ".status.conditions[?(@.type=='Ready')].reason", type_ = "string"),
    printcolumn(
        name = "Message",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        type_ = "string",
        priority = 1
    ),
    printcolumn(name = "Age", json_path = ".metadata.creationTimestamp", type_ = "date"),
    validation = Rule::new("size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a ReplicationLink must be a lower-case DNS label of at most 50 characters that starts with a letter: what it runs is named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.transport.kafka) && self.transport.kafka.via == 'Mirror') == has(self.mirrorMaker2)")
        .message("mirrorMaker2 must be set exactly if transport.kafka.via is Mirror")
)]
pub struct ReplicationLinkSpec {
    /// The cluster that follows. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot be changed: delete the link and create another"))]
    pub cluster_ref: ClusterRef,

    /// The followed region. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("source cannot be changed: delete the link and create another"))]
    pub source: LinkSource,

    /// Transport of the deltas: exactly one of `direct` and `kafka`. A change restarts nothing: the new transport
    /// continues at the shard's position.
    pub transport: Transport,

    /// Mirroring by MirrorMaker 2; only with `transport.kafka.via: Mirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_maker2: Option<MirrorMaker2>,

    /// `Paused` stops following until it is `Running` again; nothing is lost while the source keeps its log. Default `Running`.
    #[serde(default = "running")]
    pub state: LinkState,
}

fn running() -> LinkState {
    LinkState::Running
}

/// A `VectorCluster` in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40), regex(pattern = LABEL))]
    pub name: String,
}

/// The followed region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkSource {
    /// Its name; it must be in the cluster's `replicationGroup.regions`.
    #[schemars(length(min = 1, max = 32), regex(pattern = LABEL))]
    pub region: String,
}

/// Transport of the deltas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.direct) != has(self.kafka)").message("transport must be exactly one of direct and kafka"))]
pub struct Transport {
    /// Read from the source region's own log, without a broker. Written `direct: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<DirectTransport>,
    /// Read from the topic to which the source region publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTransport>,
}

/// Needs no settings: the address is that of `replicationGroup.regions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DirectTransport {}

/// The topic from which the deltas are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTransport {
    /// `Remote`: from the source region's broker. `Mirror`: from the broker of this region, to which MirrorMaker 2
    /// copies the topic.
    pub via: KafkaVia,

    /// The source region's brokers, `host:port`, several separated by commas.
    #[schemars(length(min = 3, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,

    /// The topic as the source region names it. Default `vector-deltas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub topic: Option<String>,
}

/// The broker from which the topic is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaVia {
    /// The broker of the source region.
    Remote,
    /// The broker of this region, behind MirrorMaker 2.
    Mirror,
}

/// MirrorMaker 2: its operation and its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorMaker2 {
    /// `Strimzi`: a `KafkaMirrorMaker2` resource. `Deployment`: a Deployment of this operator. `External`: not run by
    /// this operator.
    pub mode: MirrorMaker2Mode,

    /// This region's brokers, to which the copy is written, `host:port`, several separated by commas.
    #[schemars(length(min = 3, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,
}

/// The way in which MirrorMaker 2 runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MirrorMaker2Mode {
    /// By the Strimzi operator, from a `KafkaMirrorMaker2` (`kafka.strimzi.io/v1`) that this operator writes.
    Strimzi,
    /// In a Deployment that this operator writes.
    Deployment,
    /// Outside of this operator; the copied topic is named `<source region>.<topic>`.
    External,
}

/// State of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LinkState {
    /// The link follows its source.
    Running,
    /// The link is paused.
    Paused,
}

/// The observed state of a link.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationLinkStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` summarizes the others; `docs/conditions.md` explains them with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
