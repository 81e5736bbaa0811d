//! Secrets: made once, from randomness that is passed in, and never rendered again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{Object, metadata};
use crate::{Secrets, ValidCluster};

/// Random bytes and what was made of others.
#[derive(Clone)]
pub struct Material {
    /// For the API key.
    pub api_key: [u8; 32],
    /// For the group key.
    pub group_key: [u8; 32],
    /// Of the peer port.
    pub certificates: Certificates,
}

/// PEM texts of the peer port's certificates.
#[derive(Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: String,
    /// The authority's key; only the operator gets it.
    pub ca_key: String,
    /// The pods' certificate.
    pub cert: String,
    /// The pods' key.
    pub key: String,
}

/// The Secrets that are wanted and not there. They are created, never applied: what is there stays.
///
/// Keys outlive the cluster, as volumes do, so that clients find the same key when it is applied again; certificates do not.
/// A certificate comes with its authority, and a new one comes under the authority that stands; `material` holds that one's.
#[must_use]
pub fn secrets(cluster: &ValidCluster, present: Secrets, material: &Material) -> Vec<Object> {
    let mut objects = Vec::new();
    let api_key = cluster.api_key.as_ref().filter(|key| key.secret_is_ours && !present.api_key);
    objects.extend(api_key.map(|key| kept(cluster, &key.secret, "api-key", &material.api_key)));
    let group = cluster.group.as_ref().filter(|group| group.secret_is_ours && !present.group_key);
    objects.extend(group.map(|group| kept(cluster, &group.secret, "group-key", &material.group_key)));
    let Certificates { ca, ca_key, cert, key } = &material.certificates;
    if !present.peer_ca {
        objects.push(owned(cluster, cluster.peer_ca_name(), &[("ca.crt", ca), ("ca.key", ca_key)]));
    }
    if !present.peer_ca || !present.peer_tls {
        objects.push(owned(cluster, cluster.peer_tls_name(), &[("ca.crt", ca), ("tls.crt", cert), ("tls.key", key)]));
    }
    objects
}

fn kept(cluster: &ValidCluster, name: &str, key: &str, random: &[u8; 32]) -> Object {
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut meta = metadata(cluster, name.to_owned());
    meta.owner_references = None;
    let data = BTreeMap::from([(key.to_owned(), ByteString(text.into_bytes()))]);
    Object::new(Secret { metadata: meta, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() })
}

fn owned(cluster: &ValidCluster, name: String, files: &[(&str, &String)]) -> Object {
    let data = files.iter().map(|(file, text)| ((*file).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    Object::new(Secret {
        metadata: metadata(cluster, name),
        data: Some(data),
        type_: Some("Opaque".into()),
        ..Secret::default()
    })
}
