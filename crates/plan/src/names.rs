//! Names, labels and ports, each defined once.

use std::collections::BTreeMap;

use meridian_model::ShardNumber;

use crate::ValidCluster;

/// The field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "meridian-operator";
/// On every object of ours: the name of its cluster.
pub const CLUSTER_LABEL: &str = "meridiandb.io/cluster";
/// On pods, volumes and other objects of one shard.
pub const SHARD_LABEL: &str = "meridiandb.io/shard";
/// On objects of one link.
pub const LINK_LABEL: &str = "meridiandb.io/link";
/// On volumes: the 128-bit id of the cluster, by which a resource that is applied again finds its volumes.
pub const CLUSTER_ID_LABEL: &str = "meridiandb.io/cluster-id";
/// Set by users on a cluster: the id of the cluster whose volumes it adopts.
pub const ADOPT_ANNOTATION: &str = "meridiandb.io/adopt";
/// Set by users on a cluster, or by `meridian upgrade finalize`: the behavior version to finalize without a soak.
pub const FINALIZE_ANNOTATION: &str = "meridiandb.io/finalize";
/// On every object of ours: a hash of the applied object, to detect fields that are no longer wanted.
pub const APPLIED_ANNOTATION: &str = "meridiandb.io/applied";
/// On StatefulSets: a hash of the pod template as rendered.
pub const TEMPLATE_ANNOTATION: &str = "meridiandb.io/template";
/// On StatefulSets: a hash of the spec's fields that the pod template depends on, to tell changes by the operator from
/// edits.
pub const INPUTS_ANNOTATION: &str = "meridiandb.io/template-inputs";
/// The label by which the network policy selects the operator's pods.
pub const OPERATOR_NAME: &str = "meridian-operator";
/// The domain of Services.
pub const CLUSTER_DOMAIN: &str = "svc.cluster.local";

/// Public HTTP API.
pub const API_PORT: u16 = 8080;
/// Metrics and probes.
pub const ADMIN_PORT: u16 = 8081;
/// Peers, the operator and other regions.
pub const PEER_PORT: u16 = 8082;

impl ValidCluster {
    /// StatefulSet and PodDisruptionBudget of a shard; its pods are `<this>-<ordinal>`.
    #[must_use]
    pub fn shard_name(&self, shard: ShardNumber) -> String {
        format!("{}-s{shard}", self.name)
    }

    /// The pod of a shard with this ordinal, from 0.
    #[must_use]
    pub fn pod_name(&self, shard: ShardNumber, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.shard_name(shard))
    }

    /// The headless Service that names the pods.
    #[must_use]
    pub fn peers_name(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// The Service that other regions reach.
    #[must_use]
    pub fn region_name(&self) -> String {
        format!("{}-region", self.name)
    }

    /// The Secret with the certificate authority's key; only the operator reads it.
    #[must_use]
    pub fn peer_ca_name(&self) -> String {
        format!("{}-peer-ca", self.name)
    }

    /// The Secret with the pods' certificate.
    #[must_use]
    pub fn peer_tls_name(&self) -> String {
        format!("{}-peer-tls", self.name)
    }

    /// The public Service inside the Kubernetes cluster.
    #[must_use]
    pub fn service_host(&self) -> String {
        format!("{}.{}.{CLUSTER_DOMAIN}", self.name, self.namespace)
    }

    /// The domain of the pods' own names.
    #[must_use]
    pub fn peers_domain(&self) -> String {
        format!("{}.{}.{CLUSTER_DOMAIN}", self.peers_name(), self.namespace)
    }

    /// Address, `host:port`, of the peer port of the pod with this ordinal.
    #[must_use]
    pub fn peer_address(&self, shard: ShardNumber, ordinal: u16) -> String {
        self.peer_address_of(&self.pod_name(shard, ordinal))
    }

    /// Address of the peer port of the pod of this name.
    #[must_use]
    pub fn peer_address_of(&self, pod: &str) -> String {
        format!("{pod}.{}:{PEER_PORT}", self.peers_domain())
    }

    /// The ordinal of the pod that an address of this shard names; `None` for an address of another form.
    #[must_use]
    pub fn ordinal_of(&self, shard: ShardNumber, address: &str) -> Option<u16> {
        let ordinal =
            address.strip_prefix(&self.shard_name(shard))?.strip_prefix('-')?.split('.').next()?.parse().ok()?;
        (self.peer_address(shard, ordinal) == address).then_some(ordinal)
    }

    /// Labels of every object of the cluster.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "meridian"),
            ("app.kubernetes.io/managed-by", OPERATOR_NAME),
            (CLUSTER_LABEL, &self.name),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into()
    }

    /// Labels that select the pods of the cluster.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/name", "meridian"), (CLUSTER_LABEL, &self.name)]
            .map(|(key, value)| (key.into(), value.into()))
            .into()
    }

    /// Labels that select the pods of one shard.
    #[must_use]
    pub fn shard_selector(&self, shard: ShardNumber) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(SHARD_LABEL.into(), shard.to_string());
        labels
    }
}
