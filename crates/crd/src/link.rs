//! The `ReplicationLink`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patterns::{BROKERS, LABEL};

/// How the cluster of this namespace follows another region. It lives in the region that follows.
///
/// Deleting a link keeps what was received. Staleness grows from then on.
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

    /// What is followed. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("source cannot be changed: delete the link and create another"))]
    pub source: LinkSource,

    /// How the deltas travel: exactly one of `direct` and `kafka`. A change restarts nothing: what follows is read
    /// the new way, from where the shard stands.
    pub transport: Transport,

    /// Who runs MirrorMaker 2; with `transport.kafka.via: Mirror` only.
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

/// The region that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkSource {
    /// Its name; it must be in the cluster's `replicationGroup.regions`.
    #[schemars(length(min = 1, max = 32), regex(pattern = LABEL))]
    pub region: String,
}

/// How the deltas travel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.direct) != has(self.kafka)").message("transport must be exactly one of direct and kafka"))]
pub struct Transport {
    /// Streamed from the source region's own log; no broker. Written `direct: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<DirectTransport>,
    /// Read from the topic that the source region publishes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTransport>,
}

/// Needs no settings: the address is that of `replicationGroup.regions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DirectTransport {}

/// Where the deltas are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTransport {
    /// `Remote`: from the source region's broker. `Mirror`: from the broker of this region, where MirrorMaker 2 copies the topic.
    pub via: KafkaVia,

    /// The source region's brokers, `host:port`, several separated by commas.
    #[schemars(length(min = 3, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,

    /// The topic as the source region names it. Default `vector-deltas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub topic: Option<String>,
}

/// Which broker is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaVia {
    /// That of the source region.
    Remote,
    /// That of this region, behind MirrorMaker 2.
    Mirror,
}

/// Who runs MirrorMaker 2, and where it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorMaker2 {
    /// `Strimzi`: a `KafkaMirrorMaker2` resource. `Deployment`: a Deployment of this operator. `External`: someone else.
    pub mode: MirrorMaker2Mode,

    /// This region's brokers, where the copy is written and read, `host:port`, several separated by commas.
    #[schemars(length(min = 3, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,
}

/// Who runs MirrorMaker 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MirrorMaker2Mode {
    /// The Strimzi operator, from a `KafkaMirrorMaker2` (`kafka.strimzi.io/v1`) that this operator writes.
    Strimzi,
    /// A Deployment that this operator writes.
    Deployment,
    /// Someone else; the copied topic is named `<source region>.<topic>`.
    External,
}

/// Whether the link follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LinkState {
    /// It does.
    Running,
    /// Not for now.
    Paused,
}

/// What is seen of a link.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationLinkStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up the others, which `docs/conditions.md` explains with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
