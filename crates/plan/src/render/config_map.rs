//! ConfigMaps, named by a hash of their content: a change rolls pods, and a rollback finds its file.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use meridian_model::ShardNumber;

use super::{config, content_hash, metadata, pod::paths};
use crate::ValidCluster;

/// The configuration of a shard's nodes.
pub(super) fn node(cluster: &ValidCluster, shard: ShardNumber) -> ConfigMap {
    let text = config::node(cluster, shard).render();
    let mut meta = metadata(cluster, format!("{}-config", cluster.shard_name(shard)));
    meta.labels.get_or_insert_default().insert(crate::names::SHARD_LABEL.into(), shard.to_string());
    named_by_content(meta, paths::CONFIG_FILE, text)
}

/// A ConfigMap with one file, its name followed by the hash of that file.
pub(super) fn named_by_content(mut meta: ObjectMeta, file: &str, text: String) -> ConfigMap {
    meta.name = meta.name.map(|name| format!("{name}-{}", content_hash(&text)));
    ConfigMap {
        metadata: meta,
        data: Some(BTreeMap::from([(file.to_owned(), text)])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The name of a ConfigMap that [`named_by_content`] returned.
pub(super) fn name(map: &ConfigMap) -> String {
    map.metadata.name.clone().unwrap_or_default()
}
