//! `meridian render`: the objects for a file of resources, without Kubernetes.

use meridian_crd::admission::{Fault, admit};
use meridian_crd::{ReplicationLink, VectorCluster};
use meridian_model::ClusterId;
use serde::Deserialize;
use serde_json::Value;

use super::{as_declared, cluster, properties};
use crate::{Apis, Refusal, Settings, ValidCluster, ValidLink};

/// Error of offline rendering.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Not YAML.
    #[error("read yaml: {0}")]
    Syntax(String),
    /// A document that the API server would not admit.
    #[error("{resource} (document {at}): {}", describe(faults))]
    NotAdmitted {
        /// Its kind and name.
        resource: String,
        /// Position of the document in the file, from 1.
        at: usize,
        /// All violations.
        faults: Vec<Fault>,
    },
    /// A resource that the operator would refuse.
    #[error("{resource}")]
    Refused {
        /// Its kind and name.
        resource: String,
        /// The refusal.
        source: Refusal,
    },
    /// A link to a cluster that is not in the file.
    #[error("ReplicationLink {link}: its cluster {cluster} is not in the file")]
    NoCluster {
        /// The link.
        link: String,
        /// The cluster.
        cluster: String,
    },
    /// The file has no `VectorCluster`.
    #[error("there is no VectorCluster in the file")]
    Nothing,
    /// No link in the file needs MirrorMaker 2.
    #[error("no ReplicationLink in the file has a topic that is mirrored (transport.kafka.via: Mirror)")]
    NoMirror,
}

/// The objects that the operator would apply for the resources in `text`, as YAML documents. Secrets are omitted, and
/// other kinds in the file are ignored. Optional APIs count as served. The cluster id, which depends on volumes, is all
/// zeros.
///
/// # Errors
/// [`OfflineError`]: a resource cannot be read, or the API server or the operator would refuse it.
pub fn render_offline(text: &str, settings: &Settings) -> Result<String, OfflineError> {
    let mut out = String::new();
    for valid in parse(text, settings)? {
        for object in cluster(&valid, &as_declared(&valid), Apis { istio: true, strimzi: true }) {
            let yaml = serde_saphyr::to_string(object.as_json()).expect("objects always have a YAML form");
            out.push_str("---\n");
            out.push_str(&yaml);
        }
    }
    Ok(out)
}

/// The properties of MirrorMaker 2 for each link in `text` with a mirrored topic, for `mode: External`.
///
/// # Errors
/// As [`render_offline`], and [`OfflineError::NoMirror`] if no topic is mirrored.
pub fn mirror_maker_offline(text: &str, settings: &Settings) -> Result<String, OfflineError> {
    let mut out = String::new();
    for valid in parse(text, settings)? {
        for link in &valid.links {
            if let Some(properties) = properties(&valid, link) {
                out.push_str(&format!("# ReplicationLink {}/{}\n{properties}", valid.namespace, link.name));
            }
        }
    }
    if out.is_empty() { Err(OfflineError::NoMirror) } else { Ok(out) }
}

fn parse(text: &str, settings: &Settings) -> Result<Vec<ValidCluster>, OfflineError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| OfflineError::Syntax(error.to_string()))?;
    let documents = admitted(&documents)?;
    let (clusters, links): (Vec<VectorCluster>, Vec<ReplicationLink>) =
        (of_kind(&documents, "VectorCluster")?, of_kind(&documents, "ReplicationLink")?);
    let refused = |kind: &str, name: &Option<String>, source| OfflineError::Refused {
        resource: format!("{kind} {}", name.as_deref().unwrap_or_default()),
        source,
    };
    let mut parsed = Vec::new();
    for resource in &clusters {
        let here: Vec<ReplicationLink> =
            links.iter().filter(|link| link.metadata.namespace == resource.metadata.namespace).cloned().collect();
        let valid = ValidCluster::parse(resource, &here, ClusterId(0), settings)
            .map_err(|source| refused("VectorCluster", &resource.metadata.name, source))?;
        if let Some(fault) = crate::report::withheld(&valid) {
            let source = Refusal { field: "spec.traffic.istio.hosts", fault };
            return Err(refused("VectorCluster", &resource.metadata.name, source));
        }
        for link in here.iter().filter(|link| link.spec.cluster_ref.name == valid.name) {
            ValidLink::parse(link, &valid).map_err(|source| refused("ReplicationLink", &link.metadata.name, source))?;
        }
        parsed.push(valid);
    }
    let known = |link: &&ReplicationLink| {
        clusters.iter().any(|cluster| {
            cluster.metadata.namespace == link.metadata.namespace
                && cluster.metadata.name.as_deref() == Some(&link.spec.cluster_ref.name)
        })
    };
    match links.iter().find(|link| !known(link)) {
        Some(link) => Err(OfflineError::NoCluster {
            link: link.metadata.name.clone().unwrap_or_default(),
            cluster: link.spec.cluster_ref.name.clone(),
        }),
        None if parsed.is_empty() => Err(OfflineError::Nothing),
        None => Ok(parsed),
    }
}

/// The resources of `kind` among the documents of our group, as the API server would store them.
fn of_kind<T: for<'de> Deserialize<'de>>(documents: &[(usize, Value)], kind: &str) -> Result<Vec<T>, OfflineError> {
    let of_kind = documents.iter().filter(|(_, document)| document["kind"] == kind);
    of_kind
        .map(|(at, document)| {
            serde_json::from_value(document.clone()).map_err(|error| {
                // The schema admits a value that the type refuses, such as a number with a fraction.
                not_admitted(*at, document, vec![Fault { field: "spec".into(), fault: error.to_string() }])
            })
        })
        .collect()
}

/// The documents of our group after admission, each with its position in the file.
fn admitted(documents: &[Value]) -> Result<Vec<(usize, Value)>, OfflineError> {
    let of_our_group = |document: &Value| {
        document["apiVersion"].as_str().and_then(|version| version.split('/').next()) == Some(meridian_crd::GROUP)
    };
    let ours = documents.iter().zip(1..).filter(|(document, _)| of_our_group(document));
    ours.map(|(document, at)| match admit(document) {
        Ok(admitted) => Ok((at, admitted)),
        Err(faults) => Err(not_admitted(at, document, faults)),
    })
    .collect()
}

fn not_admitted(at: usize, document: &Value, faults: Vec<Fault>) -> OfflineError {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let resource = format!("{} {}", text(&document["kind"]), text(&document["metadata"]["name"]));
    OfflineError::NotAdmitted { resource, at, faults }
}

fn describe(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
