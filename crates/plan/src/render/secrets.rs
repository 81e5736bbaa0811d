//! Secrets, built from random bytes and certificates passed in. They are not part of [`cluster`](super::cluster).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{Object, metadata};
use crate::names::CLUSTER_ID_LABEL;
use crate::{Secrets, ValidCluster};

/// Values of new keys, used for Secrets that lack them.
#[derive(Clone)]
pub struct Keys {
    /// The API key; `None` if it derives from a group key that does not exist.
    pub api_key: Option<String>,
    /// The group key.
    pub group_key: String,
}

/// Secrets that lack a wanted key. They are created or completed, never applied: existing keys stay. Like volumes they
/// outlive the cluster, so that clients keep their key when it is applied again.
#[must_use]
pub fn keys(cluster: &ValidCluster, present: Secrets, keys: &Keys) -> Vec<Object> {
    let mut objects = Vec::new();
    let api_key = cluster.api_key.as_ref().filter(|key| key.secret_is_ours && !present.api_key);
    objects.extend(api_key.zip(keys.api_key.as_ref()).map(|(key, text)| kept(cluster, &key.secret, "api-key", text)));
    let group = cluster.group.as_ref().filter(|group| group.secret_is_ours && !present.group_key);
    objects.extend(group.map(|group| kept(cluster, &group.secret, "group-key", &keys.group_key)));
    objects
}

/// The Secret with a certificate authority, in PEM. Only the operator reads it.
#[must_use]
pub fn peer_ca(cluster: &ValidCluster, cert: &str, key: &str) -> Object {
    owned(cluster, cluster.peer_ca_name(), &[("ca.crt", cert), ("ca.key", key)])
}

/// The Secret that pods mount, in PEM: the trusted authorities, their certificate and its key.
#[must_use]
pub fn peer_tls(cluster: &ValidCluster, ca: &str, cert: &str, key: &str) -> Object {
    owned(cluster, cluster.peer_tls_name(), &[("ca.crt", ca), ("tls.crt", cert), ("tls.key", key)])
}

fn kept(cluster: &ValidCluster, name: &str, key: &str, text: &str) -> Object {
    let mut meta = metadata(cluster, name.to_owned());
    meta.owner_references = None;
    let data = BTreeMap::from([(key.to_owned(), ByteString(text.as_bytes().to_vec()))]);
    Object::new(Secret { metadata: meta, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() })
}

fn owned(cluster: &ValidCluster, name: String, files: &[(&str, &str)]) -> Object {
    let data = files.iter().map(|(file, text)| ((*file).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    let mut meta = metadata(cluster, name);
    // The names in the certificate contain the id.
    meta.labels.get_or_insert_default().insert(CLUSTER_ID_LABEL.into(), cluster.id.to_string());
    Object::new(Secret { metadata: meta, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() })
}
