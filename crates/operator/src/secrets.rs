//! The Secrets that a turn writes: missing keys, and the next step of certificates.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use meridian_peer::GroupKey;
use meridian_plan::ValidCluster;
use meridian_plan::certificates::CertificateStep;
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::ownership;
use meridian_plan::render::{Keys, Object, keys, peer_ca, peer_tls};
use rand::Rng;
use serde_json::json;

use crate::certificates::{Authority, CertificateSecrets, PodCertificates};
use crate::cluster::now;
use crate::context::Context;
use crate::observe::ClusterView;

/// The Secrets to write: those that lack keys, and those of the next step of certificates.
pub fn wanted(cluster: &ValidCluster, view: &ClusterView) -> anyhow::Result<Vec<Object>> {
    let mut wanted = keys(cluster, view.observed.secrets, &new_keys(cluster, view));
    let step = view.observed.certificates.next(now().0.as_second());
    wanted.extend(certificates(cluster, &view.certificates, step)?);
    Ok(wanted)
}

/// Replaces an API key that derives from the former group key by the one of the current group key. Nodes accept both.
/// Only a kept Secret is written, and only in the state in which it was read. Returns true if it was written or has
/// changed.
pub async fn follow_group_key(context: &Context, cluster: &ValidCluster, view: &ClusterView) -> anyhow::Result<bool> {
    let (Some(key), Some(group)) = (&cluster.api_key, &cluster.group) else { return Ok(false) };
    let keys = &view.keys;
    let derive = |key| Some(GroupKey::new(keys.group.bytes(key)?).ok()?.api_key(&group.name));
    let (Some(former), Some(current)) = (derive("group-key-previous"), derive("group-key")) else {
        return Ok(false);
    };
    if !key.secret_is_ours || keys.api.text("api-key").map(str::trim) != Some(&*former) || former == current {
        return Ok(false);
    }
    let Some(live) = keys.api.kept(&view.owners)? else { return Ok(false) };
    let change = json!({ "metadata": {}, "data": { "api-key": ByteString(current.into_bytes()) } });
    let change = ownership::with_preconditions(change, &live);
    let api = kube::Api::<Secret>::namespaced(context.client.clone(), &cluster.namespace);
    let patch = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match api.patch(&key.secret, &patch, &Patch::Merge(change)).await {
        // Deleted, or edited since it was read: the next turn reads it again.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => return Ok(true),
        patched => drop(patched?),
    }
    context.metrics.wrote("Secret");
    tracing::info!(name = key.secret, "the API key follows the group key");
    Ok(true)
}

/// New keys. The API key of a group derives from the group key, so clients use the same one in all its regions.
fn new_keys(cluster: &ValidCluster, view: &ClusterView) -> Keys {
    let random = || {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let held = view.keys.group.bytes("group-key");
    let group_key = random();
    let api_key = match &cluster.group {
        None => Some(random()),
        Some(group) if group.secret_is_ours || held.is_some() => {
            GroupKey::new(held.unwrap_or(group_key.as_bytes())).ok().map(|key| key.api_key(&group.name))
        }
        Some(_) => None,
    };
    Keys { api_key, group_key }
}

/// The Secrets that `step` writes.
fn certificates(
    cluster: &ValidCluster,
    CertificateSecrets { authority, pod_certificates }: &CertificateSecrets,
    step: CertificateStep,
) -> anyhow::Result<Vec<Object>> {
    let bundle = |pod_certificates: &PodCertificates, authority: &Authority| {
        format!("{}\n{}", pod_certificates.ca.trim_end(), authority.cert)
    };
    let trusts =
        |pod_certificates: &PodCertificates, authority: &Authority| pod_certificates.ca.contains(authority.cert.trim());
    Ok(match (step, authority, pod_certificates) {
        // Pods without certificates need not wait for another turn.
        (CertificateStep::CreateAuthority, _, None) => {
            let created = Authority::create(cluster)?;
            let (cert, key) = created.sign(cluster)?;
            vec![peer_ca(cluster, &created.cert, &created.key), peer_tls(cluster, &created.cert, &cert, &key)]
        }
        (CertificateStep::CreateAuthority, _, Some(_)) => {
            let created = Authority::create(cluster)?;
            vec![peer_ca(cluster, &created.cert, &created.key)]
        }
        (CertificateStep::TrustBoth, Some(authority), Some(pod_certificates)) => {
            vec![peer_tls(cluster, &bundle(pod_certificates, authority), &pod_certificates.cert, &pod_certificates.key)]
        }
        (CertificateStep::Sign, Some(authority), pod_certificates) => {
            let (cert, key) = authority.sign(cluster)?;
            let ca = match pod_certificates {
                Some(pod_certificates) if trusts(pod_certificates, authority) => pod_certificates.ca.clone(),
                _ => authority.cert.clone(),
            };
            vec![peer_tls(cluster, &ca, &cert, &key)]
        }
        (CertificateStep::TrustNewOnly, Some(authority), Some(pod_certificates)) => {
            vec![peer_tls(cluster, &authority.cert, &pod_certificates.cert, &pod_certificates.key)]
        }
        _ => Vec::new(),
    })
}
