//! The StatefulSet of one shard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use meridian_model::ShardNumber;

use super::{metadata, pod};
use crate::ValidCluster;
use crate::names::{CLUSTER_ID_LABEL, SHARD_LABEL};

/// All pods start together (they need each other), the controller restarts none (the operator checks the quorum first),
/// and no volume is deleted.
pub(super) fn shard(cluster: &ValidCluster, shard: ShardNumber, replicas: u16, config: String) -> StatefulSet {
    let mut meta = metadata(cluster, cluster.shard_name(shard));
    meta.labels.get_or_insert_default().insert(SHARD_LABEL.into(), shard.to_string());
    let retain = Some("Retain".into());
    StatefulSet {
        metadata: meta,
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas.into()),
            service_name: Some(cluster.peers_name()),
            pod_management_policy: Some("Parallel".into()),
            update_strategy: Some(StatefulSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: retain.clone(),
                when_scaled: retain,
            }),
            selector: LabelSelector { match_labels: Some(cluster.shard_selector(shard)), ..LabelSelector::default() },
            template: pod::replica(cluster, shard, config),
            volume_claim_templates: Some(vec![volume(cluster)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// The volume of a replica. Its label has the cluster id, so that a resource that is applied again finds it.
fn volume(cluster: &ValidCluster) -> PersistentVolumeClaim {
    let size = BTreeMap::from([("storage".to_owned(), Quantity(cluster.volume_size.clone()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(pod::DATA_VOLUME.into()),
            labels: Some(BTreeMap::from([(CLUSTER_ID_LABEL.to_owned(), cluster.id.to_string())])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
            storage_class_name: cluster.storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
