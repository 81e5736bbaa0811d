//! Labels of the claims of adopted volumes.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use meridian_plan::names::{CLUSTER_ID_LABEL, FIELD_MANAGER};
use meridian_plan::{Observed, ValidCluster, adoption};
use serde_json::json;

use crate::context::Context;

/// Writes the id of the cluster into the labels of claims whose volumes carry it. By the label a resource that is
/// deleted and applied again finds its volumes without an annotation. Returns true if a label was written.
pub async fn follow_id(
    context: &Context,
    cluster: &ValidCluster,
    claims: &[PersistentVolumeClaim],
    observed: &Observed,
) -> kube::Result<bool> {
    let label = |claim: &PersistentVolumeClaim| claim.labels().get(CLUSTER_ID_LABEL).cloned();
    let labeled: Vec<(String, Option<String>)> = claims.iter().map(|claim| (claim.name_any(), label(claim))).collect();
    let labeled = labeled.iter().map(|(name, label)| (name.as_str(), label.as_deref()));
    let wanted = adoption::claims_to_label(cluster, observed, labeled);
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &cluster.namespace);
    let patch = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let mut changed = false;
    for claim in claims.iter().filter(|claim| wanted.contains(&claim.name_any().as_str())) {
        let meta = claim.meta();
        let change = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version,
            "labels": {CLUSTER_ID_LABEL: cluster.id.to_string()},
        }});
        match api.patch(&claim.name_any(), &patch, &Patch::Merge(change)).await {
            // Deleted, or changed since it was read: the next turn reads it again.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            // A failed label does not stop the turn.
            Err(kube::Error::Api(status)) => {
                let (name, message) = (claim.name_any(), status.message);
                tracing::warn!(cluster = cluster.name, name, message, "claim label not updated");
                continue;
            }
            patched => drop(patched?),
        }
        context.metrics.wrote("PersistentVolumeClaim");
        changed = true;
    }
    Ok(changed)
}
