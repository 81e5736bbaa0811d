//! Every object, one file per kind. Builders are functions of parsed specs and cannot fail.

mod accepted;
mod config;
mod config_map;
mod istio;
mod mirror_maker;
mod network_policy;
mod object;
mod offline;
mod pod;
mod pod_disruption_budget;
mod secrets;
mod service;
mod stateful_set;
mod strimzi;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use meridian_model::ShardNumber;

pub use accepted::{AcceptedSpec, accepted, name as accepted_name};
pub use mirror_maker::properties;
pub use object::{Object, ObjectRef};
pub use offline::{OfflineError, mirror_maker_offline, render_offline};
pub use secrets::{Keys, keys, peer_ca, peer_tls};

use crate::upgrade::UpgradeStep;
use crate::{Apis, Step, ValidCluster, ValidLink};

/// All objects of a cluster after this turn, except Secrets. Routes are rendered only if their API is served.
#[must_use]
pub fn cluster(cluster: &ValidCluster, step: &Step, apis: Apis) -> Vec<Object> {
    let accepted = step.upgrade.refused_image.as_ref().and_then(|refused| refused.accepted.clone());
    let with_accepted = accepted.map(|image| ValidCluster { image, ..cluster.clone() });
    let cluster = with_accepted.as_ref().unwrap_or(cluster);
    let mut objects = vec![
        Object::new(service::public(cluster)),
        Object::new(service::peers(cluster)),
        Object::new(network_policy::ingress(cluster)),
    ];
    objects.extend(cluster.group.is_some().then(|| Object::new(service::region(cluster))));
    for shard in ShardNumber::all(cluster.shards) {
        let config = config_map::node(cluster, shard);
        let replicas = step.replicas.get(&shard).copied().unwrap_or(cluster.replicas);
        objects.push(Object::new(pod_disruption_budget::shard(cluster, shard)));
        objects.push(Object::new(stateful_set::shard(cluster, shard, replicas, config_map::name(&config))));
        objects.push(Object::new(config));
    }
    if let Some(istio) = cluster.istio.as_ref().filter(|istio| apis.istio && !istio.hosts.is_empty()) {
        objects.push(Object::from_json(istio::virtual_service(cluster, istio)));
        objects.push(Object::from_json(istio::destination_rule(cluster, istio)));
    }
    for link in &cluster.links {
        if let Some(selector) = metadata_of_link(cluster, link) {
            objects.extend(mirror_maker::objects(cluster, link, &selector, apis));
        }
    }
    objects
}

/// The step for rendering offline: all replicas as declared.
pub(crate) fn as_declared(cluster: &ValidCluster) -> Step {
    let replicas = ShardNumber::all(cluster.shards).map(|shard| (shard, cluster.replicas)).collect();
    let upgrade = UpgradeStep::none();
    Step { allocators: Default::default(), replicas, act: None, operations: Vec::new(), upgrade }
}

/// Metadata of an object that is deleted with the cluster.
fn metadata(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(cluster.labels()),
        owner_references: cluster.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object that is deleted with the link; `None` for a link without objects in this region.
fn metadata_of_link(cluster: &ValidCluster, link: &ValidLink) -> Option<ObjectMeta> {
    link.mirror.as_ref()?;
    let mut meta = metadata(cluster, link.name.clone());
    meta.owner_references = link.owner.clone().map(|owner| vec![owner]);
    meta.labels.get_or_insert_default().insert(crate::names::LINK_LABEL.into(), link.name.clone());
    Some(meta)
}

/// The first 10 hexadecimal digits of the content's hash, enough to distinguish the few versions of one object.
pub(crate) fn content_hash(content: &str) -> String {
    blake3::hash(content.as_bytes()).to_hex()[..10].to_owned()
}

#[cfg(test)]
mod tests;
