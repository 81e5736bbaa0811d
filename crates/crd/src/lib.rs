//! The custom resources: [`VectorCluster`] (one region) and [`ReplicationLink`] (one region following another).
//!
//! Owns: fields, bounds, defaults, the rules between fields (CEL, checked by the API server and by [`admission`]),
//! print columns, status, and the names of conditions and their reasons. Does not know how the operator acts on them.
//!
//! ```text
//!   examples/*.yaml ──API server: schema + rules──► VectorCluster / ReplicationLink ──► plan::valid
//!                                                        ▲ status: conditions, operations, ledgers
//! ```
//!
//! Field docs are user documentation: they become the descriptions in `crds/*.yaml`. Start reading at
//! [`VectorClusterSpec`].

pub mod admission;
mod cluster;
pub mod conditions;
mod group;
mod link;
mod patterns;
mod settings;
mod status;
mod upgrade;

pub use cluster::{VectorCluster, VectorClusterSpec};
pub use group::{DeltaLog, GroupRegion, KafkaLog, Primary, ReplicationGroup, WriteMode};
pub use link::{
    ClusterRef, DirectTransport, KafkaTransport, KafkaVia, LinkSource, LinkState, MirrorMaker2, MirrorMaker2Mode,
    ReplicationLink, ReplicationLinkSpec, ReplicationLinkStatus, Transport,
};
pub use settings::{
    Amounts, Auth, AuthMode, CollectionDefaults, Cors, FreshnessSpec, HnswConfig, Istio, OnStale, Resources, SecretRef,
    Storage, Traffic,
};
pub use status::{BlockedBy, Operation, RolloutStatus, ShardStatus, VectorClusterStatus};
pub use upgrade::{ImageStatus, Upgrade, UpgradeStatus};

/// The API group of both resources.
pub const GROUP: &str = "meridiandb.io";
/// The version served and stored.
pub const VERSION: &str = "v1alpha1";

/// Both definitions in their installed form.
#[must_use]
pub fn definitions() -> [k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition; 2]
{
    use kube::CustomResourceExt;
    [VectorCluster::crd(), ReplicationLink::crd()]
}

#[cfg(test)]
mod tests;
