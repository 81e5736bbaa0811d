//! Server-side apply of what is wanted, then pruning of what is wanted no longer. What stands as wanted is not written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use meridian_peer::GroupKey;
use meridian_plan::certificates::CertificateStep;
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::render::{Keys, Object, ObjectRef, keys, peer_ca, peer_tls};
use meridian_plan::{ValidCluster, difference};
use rand::RngCore;
use serde_json::Value;

use crate::certificates::{Authority, Given, Standing};
use crate::cluster::now;
use crate::context::Context;
use crate::kinds;
use crate::observe::Sight;

/// Makes the keys that are not there, and takes the next step with certificates. Returns whether anything was written.
pub async fn make_secrets(context: &Context, cluster: &ValidCluster, sight: &Sight) -> anyhow::Result<bool> {
    let mut changed = false;
    for secret in keys(cluster, sight.observed.secrets, &new_keys(cluster, sight)) {
        let (Some(api), name) = at(context, cluster, &secret.reference()) else { continue };
        let object = serde_json::from_value(secret.as_json().clone())?;
        match api.create(&PostParams { field_manager: Some(FIELD_MANAGER.into()), dry_run: false }, &object).await {
            // One that holds something else is the user's; it is reported as missing its key.
            Err(kube::Error::Api(status)) if status.code == 409 => continue,
            made => drop(made?),
        }
        context.metrics.wrote("Secret");
        tracing::info!(name, "made a key");
        changed = true;
    }
    changed |= follow_group_key(context, cluster, sight).await?;
    let step = sight.observed.certificates.next(now().0.as_second());
    for secret in certificates(cluster, &sight.certificates, step)? {
        let (Some(api), name) = at(context, cluster, &secret.reference()) else { continue };
        // Other fields of a Secret that stands are not touched.
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(secret.as_json())).await?;
        context.metrics.wrote("Secret");
        tracing::info!(name, ?step, "changed certificates");
        changed = true;
    }
    Ok(changed)
}

/// An API key that was derived from the former group key becomes the one derived from the new one. Nodes accept both.
async fn follow_group_key(context: &Context, cluster: &ValidCluster, sight: &Sight) -> anyhow::Result<bool> {
    let (Some(key), Some(group)) = (&cluster.api_key, &cluster.group) else { return Ok(false) };
    let derive = |text: &Option<String>| Some(GroupKey::new(text.as_ref()?.as_bytes()).ok()?.api_key(&group.name));
    let (Some(former), Some(current)) = (derive(&sight.keys.group_key_previous), derive(&sight.keys.group_key)) else {
        return Ok(false);
    };
    let held = sight.keys.api_key.as_deref().map(str::trim);
    if !key.secret_is_ours || held != Some(former.as_str()) || former == current {
        return Ok(false);
    }
    let api = kube::Api::<Secret>::namespaced(context.client.clone(), &cluster.namespace);
    let change = serde_json::json!({ "data": { "api-key": ByteString(current.into_bytes()) } });
    api.patch(&key.secret, &PatchParams::default(), &Patch::Merge(change)).await?;
    context.metrics.wrote("Secret");
    tracing::info!(name = key.secret, "the API key follows the group key");
    Ok(true)
}

/// New keys. The API key of a group is derived from the group's key: a client finds the same in all its regions.
fn new_keys(cluster: &ValidCluster, sight: &Sight) -> Keys {
    let random = || {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let group_key = sight.keys.group_key.clone().unwrap_or_else(random);
    let api_key = match &cluster.group {
        None => Some(random()),
        Some(group) if group.secret_is_ours || sight.keys.group_key.is_some() => {
            GroupKey::new(group_key.as_bytes()).ok().map(|key| key.api_key(&group.name))
        }
        Some(_) => None,
    };
    Keys { api_key, group_key }
}

/// The Secrets that a step writes.
fn certificates(
    cluster: &ValidCluster,
    Standing { authority, given }: &Standing,
    step: CertificateStep,
) -> anyhow::Result<Vec<Object>> {
    let bundle = |given: &Given, authority: &Authority| format!("{}\n{}", given.ca.trim_end(), authority.cert);
    let trusts = |given: &Given, authority: &Authority| given.ca.contains(authority.cert.trim());
    Ok(match (step, authority, given) {
        // Pods that have nothing yet need not wait for another turn.
        (CertificateStep::Found, _, None) => {
            let founded = Authority::found(cluster)?;
            let (cert, key) = founded.sign(cluster)?;
            vec![peer_ca(cluster, &founded.cert, &founded.key), peer_tls(cluster, &founded.cert, &cert, &key)]
        }
        (CertificateStep::Found, _, Some(_)) => {
            let founded = Authority::found(cluster)?;
            vec![peer_ca(cluster, &founded.cert, &founded.key)]
        }
        (CertificateStep::Trust, Some(authority), Some(given)) => {
            vec![peer_tls(cluster, &bundle(given, authority), &given.cert, &given.key)]
        }
        (CertificateStep::Sign, Some(authority), given) => {
            let (cert, key) = authority.sign(cluster)?;
            let ca = match given {
                Some(given) if trusts(given, authority) => given.ca.clone(),
                _ => authority.cert.clone(),
            };
            vec![peer_tls(cluster, &ca, &cert, &key)]
        }
        (CertificateStep::Forget, Some(authority), Some(given)) => {
            vec![peer_tls(cluster, &authority.cert, &given.cert, &given.key)]
        }
        _ => Vec::new(),
    })
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
