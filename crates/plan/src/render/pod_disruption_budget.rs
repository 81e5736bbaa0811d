//! The budget that keeps drains from taking a shard's quorum.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meridian_model::ShardNumber;

use super::metadata;
use crate::ValidCluster;

/// One pod of a shard may be down at a time. A pod that is not ready may always be evicted; otherwise a bad revision
/// could not be rolled back.
pub(super) fn shard(cluster: &ValidCluster, shard: ShardNumber) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(cluster, cluster.shard_name(shard)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(cluster.shard_selector(shard)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
