//! Secrets: made of randomness and certificates that are passed in, and never rendered again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{Object, metadata};
use crate::names::CLUSTER_ID_LABEL;
use crate::{Secrets, ValidCluster};

/// The texts of keys that are made when their Secrets are not there.
#[derive(Clone)]
pub struct Keys {
    /// The API key; none while it would be derived from a group key that is not there.
    pub api_key: Option<String>,
    /// The group key.
    pub group_key: String,
}

/// The Secrets with keys that are wanted and not there. They are created or completed, never applied: what is there stays. They
/// outlive the cluster, as volumes do, so that clients find the same key when it is applied again.
#[must_use]
pub fn keys(cluster: &ValidCluster, present: Secrets, keys: &Keys) -> Vec<Object> {
    let mut objects = Vec::new();
    let api_key = cluster.api_key.as_ref().filter(|key| key.secret_is_ours && !present.api_key);
    objects.extend(api_key.zip(keys.api_key.as_ref()).map(|(key, text)| kept(cluster, &key.secret, "api-key", text)));
    let group = cluster.group.as_ref().filter(|group| group.secret_is_ours && !present.group_key);
    objects.extend(group.map(|group| kept(cluster, &group.secret, "group-key", &keys.group_key)));
    objects
}

/// The Secret with a certificate authority, PEM. Only the operator reads it.
#[must_use]
pub fn peer_ca(cluster: &ValidCluster, cert: &str, key: &str) -> Object {
    owned(cluster, cluster.peer_ca_name(), &[("ca.crt", cert), ("ca.key", key)])
}

/// The Secret with what pods are given, PEM: the authorities that they trust, their certificate and its key.
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
    // The certificate bears the id in its names.
    meta.labels.get_or_insert_default().insert(CLUSTER_ID_LABEL.into(), cluster.id.to_string());
    Object::new(Secret { metadata: meta, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() })
}
