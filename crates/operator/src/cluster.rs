//! One turn for one cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use meridian_crd::conditions::{Reason, reason, type_};
use meridian_crd::{ReplicationLink, VectorCluster, VectorClusterStatus};
use meridian_plan::adoption;
use meridian_plan::names::CLUSTER_LABEL;
use meridian_plan::ownership::{self, Cause};
use meridian_plan::render::AcceptedSpec;
use meridian_plan::report::Outcome;
use meridian_plan::{Refusal, Step, next_step, render, report as plan_report, rolls};

use crate::act::ActOutcome;
use crate::context::Context;
use crate::observe::{ClusterView, load_prerequisites, observe};
use crate::report::EventKind;
use crate::{act, apply, claims, report, rolls as slots, secrets, upgrade};

/// Time between turns while an operation makes progress.
const REQUEUE_ACTIVE: Duration = Duration::from_millis(300);
/// Time between turns while an operation waits for something that no watch reports, such as a learner that catches up.
const REQUEUE_WAITING: Duration = Duration::from_secs(1);
/// Time between turns at rest, an upper bound for noticing a lost volume or a shard without leader.
const REQUEUE_IDLE: Duration = Duration::from_secs(15);

/// Time between turns of a cluster whose name collides with an older one's.
const REQUEUE_NAME_CONFLICT: Duration = Duration::from_secs(60);

/// Error of a turn, which is repeated after a growing wait.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct TurnError(#[from] pub anyhow::Error);

/// The API of one namespace, or of all.
pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Runs turns until the process receives a signal.
pub async fn run(context: Arc<Context>, namespace: Option<String>) {
    let (client, namespace) = (&context.client, namespace.as_deref());
    let ours = || watcher::Config::default().labels(CLUSTER_LABEL);
    let of_label = |labels: &dyn Fn(&str) -> Option<String>, namespace: Option<String>| {
        Some(ObjectRef::new(&labels(CLUSTER_LABEL)?).within(&namespace?))
    };
    let of_pod = move |pod: Pod| of_label(&|key| pod.labels().get(key).cloned(), pod.namespace());
    let of_link = |link: ReplicationLink| Some(ObjectRef::new(&link.spec.cluster_ref.name).within(&link.namespace()?));
    Controller::new(api::<VectorCluster>(client, namespace), watcher::Config::default())
        .owns(api::<StatefulSet>(client, namespace), ours())
        .owns(api::<Service>(client, namespace), ours())
        .owns(api::<ConfigMap>(client, namespace), ours())
        .owns(api::<PodDisruptionBudget>(client, namespace), ours())
        .owns(api::<NetworkPolicy>(client, namespace), ours())
        .owns(api::<Deployment>(client, namespace), ours())
        .watches(api::<Pod>(client, namespace), ours(), of_pod)
        .watches(api::<ReplicationLink>(client, namespace), watcher::Config::default(), of_link)
        .shutdown_on_signal()
        .run(reconcile, after_failure, context.clone())
        .for_each(|_| async {})
        .await;
}

fn after_failure(cluster: Arc<VectorCluster>, error: &TurnError, context: Arc<Context>) -> Action {
    let name = format!("VectorCluster/{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    tracing::warn!(cluster = name, error = format!("{:#}", error.0), "turn failed");
    Action::requeue(context.failed(&name))
}

async fn reconcile(cluster: Arc<VectorCluster>, context: Arc<Context>) -> Result<Action, TurnError> {
    let began = Instant::now();
    let ended = turn(&cluster, &context).await;
    context.metrics.reconciled("VectorCluster", ended.is_ok(), began.elapsed());
    if ended.is_ok() {
        let name = format!("VectorCluster/{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        context.succeeded(&name);
    }
    Ok(ended?)
}

/// One turn. Only calls with the context contact the API server or the pods.
async fn turn(cached: &VectorCluster, context: &Context) -> anyhow::Result<Action> {
    let namespace = cached.namespace().unwrap_or_default();
    let resources: Api<VectorCluster> = Api::namespaced(context.client.clone(), &namespace);
    // The watch may lag behind writes of the operator and of users, so a turn reads the resource again.
    let key = format!("{namespace}/{}", cached.name_any());
    let clear = || {
        context.act_backoff().remove(&key);
        context.metrics.certificate(&namespace, &cached.name_any(), None);
        context.refusals.retain(&(namespace.clone(), cached.name_any()), &BTreeSet::new());
    };
    let Some(mut resource) = resources.get_opt(&cached.name_any()).await? else {
        clear();
        return Ok(Action::await_change());
    };
    if resource.metadata.deletion_timestamp.is_some() {
        clear();
        return Ok(Action::await_change()); // owned objects go with it, volumes and keys stay
    }
    let old = resource.status.clone().unwrap_or_default();
    let neighbors = resources.list(&ListParams::default()).await?.items;
    if let Some(refusal) = ownership::name_collision(&resource, &neighbors) {
        refuse(context, &mut resource, reason::NAME_CONFLICT, &refusal).await?;
        return Ok(Action::requeue(REQUEUE_NAME_CONFLICT)); // the older cluster may go
    }
    let prerequisites = load_prerequisites(context, &resource).await?;
    let (cluster, refusal) = match prerequisites.parse(&resource, &context.settings) {
        Ok(parsed) => parsed,
        // A refused spec is not retried: the turn reports it and waits for an edit.
        Err(refusal) => {
            refuse(context, &mut resource, reason::INVALID_SPEC, &refusal).await?;
            return Ok(Action::await_change());
        }
    };
    if let Some(refusal) = refusal.as_ref().filter(|refusal| !is_reported(&old, refusal)) {
        report::event(context, &resource, EventKind::of(reason::INVALID_SPEC), refusal.to_string()).await;
    }
    let mut view = observe(context, &resource, &cluster, &prerequisites).await?;
    view.observed.refused = context.act_backoff().of(&key, Instant::now());
    let leaf = view.observed.certificates.leaf;
    context.metrics.certificate(&namespace, &cluster.name, leaf.map(|leaf| leaf.not_after));
    let step = next_step(&cluster, &view.observed);
    if step.act.is_some()
        || step
            .allocators
            .iter()
            .any(|(shard, allocator)| view.observed.shards.get(shard).is_none_or(|seen| seen.allocator != *allocator))
    {
        let intent = plan_report::intent(&cluster, &step, &old);
        report::cluster(context, &mut resource, intent).await?; // written before the act, so a crash resumes it
    }
    let spec = match &refusal {
        None => AcceptedSpec::of(&resource.spec),
        Some(_) => prerequisites.accepted.clone().context("a refused spec has a predecessor")?,
    };
    let former = prerequisites.accepted.as_ref().filter(|former| **former != spec);
    if let Some(refused) = step.upgrade.refused_image.as_ref().filter(|_| !has_reason(&old, reason::IMAGE_TOO_OLD)) {
        report::event(context, &resource, EventKind::of(reason::IMAGE_TOO_OLD), refused.to_string()).await;
    }
    let followed = secrets::follow_group_key(context, &cluster, &view).await?;
    let mut wanted = secrets::wanted(&cluster, &view)?;
    wanted.push(render::accepted(&cluster, &spec, former));
    let declared = spec.spec().context("the accepted spec cannot be read")?;
    let objects = render::cluster(&cluster, &step, view.observed.apis);
    wanted.extend(objects.into_iter().map(|object| {
        let live = view.live_objects.get(&object.reference());
        rolls::marked(adoption::with_live_claim_labels(object, live), &declared, cluster.id)
    }));
    let pending = slots::is_pending(&view, &wanted) && !upgrade::takes_image_back(&view, &step);
    let waiting = if pending { slots::take_slot(context, &mut resource, &cluster).await? } else { None };
    let mut applied = apply::apply(context, &cluster, &view, &wanted, waiting.is_some()).await?;
    applied.changed |= followed;
    claims::follow_id(context, &cluster, &prerequisites.volumes, &view.observed).await?;
    for blocked in &applied.news {
        let why = if blocked.cause == Cause::NameConflict { reason::NAME_CONFLICT } else { reason::OBJECT_REJECTED };
        let note = format!("{} {}: {}", blocked.object.kind, blocked.object.name, blocked.message);
        report::event(context, &resource, EventKind::of(why), note).await;
    }
    // The written objects may change the decision, so the act waits for the next turn.
    if let Some(move_) = step.act.as_ref().filter(|_| !applied.changed) {
        match act::act(context, &cluster, &view, move_).await? {
            ActOutcome::Done => {
                context.act_backoff().accepted(&key, move_);
                report::event(context, &resource, EventKind::done(move_), upgrade::note(&step, move_)).await;
            }
            ActOutcome::Refused(why) => {
                // One event for each reason; the wait itself is in `blockedBy`.
                if context.act_backoff().refused(&key, move_, &why, Instant::now()) {
                    report::event(context, &resource, EventKind::refused(move_), why).await;
                }
            }
        }
    }
    let outcome = Outcome { changed: applied.changed, blocked: &applied.blocked, refusal: refusal.as_ref() };
    let mut status = plan_report::cluster(&cluster, &view.observed, &step, outcome, &old, &now());
    if applied.blocked.iter().all(|blocked| blocked.object.name != render::accepted_name(&cluster.name)) {
        status.accepted_spec_hash = Some(spec.hash);
    }
    let image = &context.settings.default_image;
    let slot = resource.status.as_ref().and_then(|status| status.rollout.as_ref());
    status.rollout = slot.and_then(|roll| rolls::progressed(roll, &cluster, &view.observed, image, pending, &now()));
    if !pending && status.rollout.is_none() {
        status.default_image = Some(image.clone());
    }
    status.operations.extend(waiting);
    report::cluster(context, &mut resource, status).await?;
    let leaving = applied.blocked.iter().any(|blocked| blocked.cause == Cause::Leaving);
    Ok(Action::requeue(requeue_after(&step, &view, applied.changed).min(if leaving {
        REQUEUE_WAITING
    } else {
        REQUEUE_IDLE
    })))
}

/// Reports a refused spec, in the status and by an event.
async fn refuse(context: &Context, resource: &mut VectorCluster, why: Reason, refusal: &Refusal) -> anyhow::Result<()> {
    let old = resource.status.clone().unwrap_or_default();
    let status = plan_report::refused(resource.metadata.generation.unwrap_or_default(), why, refusal, &old, &now());
    if resource.status.as_ref() != Some(&status) {
        report::event(context, resource, EventKind::of(why), refusal.to_string()).await;
    }
    report::cluster(context, resource, status).await?;
    Ok(())
}

/// Returns true if the status already reports this refusal.
fn is_reported(status: &VectorClusterStatus, refusal: &Refusal) -> bool {
    status
        .condition(type_::ACCEPTED)
        .is_some_and(|condition| condition.status == "False" && condition.message == refusal.to_string())
}

/// Whether `Progressing` has this reason.
fn has_reason(status: &VectorClusterStatus, why: Reason) -> bool {
    status.condition(type_::PROGRESSING).is_some_and(|condition| why == *condition.reason)
}

fn requeue_after(step: &Step, view: &ClusterView, changed: bool) -> Duration {
    let all_answer = view.observed.shards.values().flat_map(|seen| seen.pods.values()).all(|pod| pod.answer.is_some());
    match () {
        () if changed || step.act.is_some() => REQUEUE_ACTIVE,
        () if !step.operations.is_empty() || !all_answer => REQUEUE_WAITING,
        () => REQUEUE_IDLE,
    }
}

/// The current time in whole seconds, the resolution of conditions in the API server.
pub fn now() -> Time {
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_else(|_| Timestamp::now()))
}

#[cfg(test)]
mod tests;
