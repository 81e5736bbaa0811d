//! Server-side apply of what is wanted, then pruning of what is wanted no longer. What stands as wanted is not written.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::render::{Material, Object, ObjectRef, secrets};
use meridian_plan::{ValidCluster, difference};
use rand::RngCore;
use serde_json::Value;

use crate::context::Context;
use crate::observe::Sight;
use crate::{certificates, kinds};

/// Makes the Secrets that are not there. Returns whether any was made.
pub async fn make_secrets(context: &Context, cluster: &ValidCluster, sight: &Sight) -> anyhow::Result<bool> {
    let present = sight.observed.secrets;
    let needs_key = |ours: bool, there: bool| ours && !there;
    let wanted = needs_key(cluster.api_key.as_ref().is_some_and(|key| key.secret_is_ours), present.api_key)
        || needs_key(cluster.group.as_ref().is_some_and(|group| group.secret_is_ours), present.group_key)
        || !present.peer_ca
        || !present.peer_tls;
    if !wanted {
        return Ok(false);
    }
    // Under the authority that stands, so that a life that ended between the two is taken up where it ended.
    let certificates = match &sight.authority {
        Some(authority) => certificates::sign(cluster, authority.clone())?,
        None => certificates::make(cluster)?,
    };
    let mut material = Material { api_key: [0; 32], group_key: [0; 32], certificates };
    rand::rng().fill_bytes(&mut material.api_key);
    rand::rng().fill_bytes(&mut material.group_key);
    for secret in secrets(cluster, present, &material) {
        let patch = PatchParams::apply(FIELD_MANAGER);
        let owned = !secret.as_json()["metadata"]["ownerReferences"].is_null();
        let (Some(api), name) = at(context, cluster, &secret.reference()) else { continue };
        if owned {
            // What is left of an older authority is overwritten.
            api.patch(&name, &patch.force(), &Patch::Apply(secret.as_json())).await?;
            context.metrics.wrote("Secret");
            continue;
        }
        let object = serde_json::from_value(secret.as_json().clone())?;
        match api.create(&PostParams { field_manager: Some(FIELD_MANAGER.into()), dry_run: false }, &object).await {
            // One that holds something else is the user's; it is reported as missing its key.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made?),
        }
        context.metrics.wrote("Secret");
    }
    Ok(true)
}

fn at(context: &Context, cluster: &ValidCluster, object: &ObjectRef) -> (Option<kube::Api<DynamicObject>>, String) {
    (kinds::api(&context.client, &cluster.namespace, object), object.name.clone())
}

/// Applies `wanted` and prunes. Returns whether anything was written.
pub async fn apply(context: &Context, cluster: &ValidCluster, sight: &Sight, wanted: &[Object]) -> kube::Result<bool> {
    let mut changed = false;
    for object in wanted {
        let reference = object.reference();
        if sight.standing.get(&reference).is_some_and(|live| difference::is_applied(live, object)) {
            continue;
        }
        let (Some(api), name) = at(context, cluster, &reference) else { continue };
        let applied = put(context, &api, &name, object, sight.standing.contains_key(&reference)).await?;
        let before = sight.standing.get(&reference).and_then(|live| live["metadata"]["resourceVersion"].as_str());
        changed |= applied.metadata.resource_version.as_deref() != before;
        tracing::info!(kind = reference.kind, name, "applied");
    }
    Ok(prune(context, cluster, &sight.standing, wanted, sight).await? || changed)
}

/// Applies one object. Items that someone else put into a keyed list (a port, say) are not ours to apply away: where they
/// remain, or stand in the way, our lists replace the whole.
async fn put(
    context: &Context,
    api: &kube::Api<DynamicObject>,
    name: &str,
    object: &Object,
    stands: bool,
) -> kube::Result<DynamicObject> {
    let patch = PatchParams::apply(FIELD_MANAGER);
    let kind = &object.reference().kind;
    let applied = api.patch(name, &patch.clone().force(), &Patch::Apply(object.as_json())).await;
    context.metrics.wrote(kind);
    let in_the_way = match &applied {
        Ok(applied) => {
            !difference::is_applied(&serde_json::to_value(applied).map_err(kube::Error::SerdeError)?, object)
        }
        Err(kube::Error::Api(status)) => status.code == 422,
        Err(_) => false,
    };
    if !(stands && in_the_way) {
        return applied;
    }
    let merged = api.patch(name, &patch, &Patch::Merge(object.as_json())).await;
    context.metrics.wrote(kind);
    merged
}

async fn prune(
    context: &Context,
    cluster: &ValidCluster,
    standing: &BTreeMap<ObjectRef, Value>,
    wanted: &[Object],
    sight: &Sight,
) -> kube::Result<bool> {
    let references: Vec<ObjectRef> = standing.keys().cloned().collect();
    let mut changed = false;
    for object in difference::to_prune(&references, wanted, &sight.mounted) {
        let (Some(api), name) = at(context, cluster, &object) else { continue };
        let meta = &standing[&object]["metadata"];
        let preconditions = Preconditions {
            uid: meta["uid"].as_str().map(Into::into),
            resource_version: meta["resourceVersion"].as_str().map(Into::into),
        };
        let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match api.delete(&name, &delete).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted?),
        }
        context.metrics.wrote(&object.kind);
        tracing::info!(kind = object.kind, name, "pruned");
        changed = true;
    }
    Ok(changed)
}
