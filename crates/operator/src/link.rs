//! One turn for one link: only its status. Its objects are applied with its cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use meridian_crd::{ReplicationLink, VectorCluster};
use meridian_plan::names::CLUSTER_LABEL;
use meridian_plan::report::{self as plan_report, ObservedLink};
use meridian_plan::{ValidCluster, ValidLink};
use meridian_proto::topology::ReplicaStatus;

use crate::cluster::{TurnError, api, now};
use crate::context::Context;
use crate::observe::{load_prerequisites, replicas};
use crate::{kinds, report, scrape};

/// Time between turns.
const REQUEUE_AFTER: Duration = Duration::from_secs(5);
/// Staleness in seconds from which a source counts as disconnected: many statements of completeness and a reconnect are
/// missing.
const SILENCE_SECONDS: f64 = 10.0;
/// Staleness in seconds up to which a link is within its bound: well above that of a busy link, so that the condition
/// does not flap.
const BOUND_SECONDS: f64 = 1.0;

/// Runs turns until the process receives a signal.
pub async fn run(context: Arc<Context>, namespace: Option<String>) {
    let (client, namespace) = (&context.client, namespace.as_deref());
    Controller::new(api::<ReplicationLink>(client, namespace), watcher::Config::default())
        .shutdown_on_signal()
        .run(reconcile, after_failure, context.clone())
        .for_each(|_| async {})
        .await;
}

fn name(link: &ReplicationLink) -> String {
    format!("ReplicationLink/{}/{}", link.namespace().unwrap_or_default(), link.name_any())
}

fn after_failure(link: Arc<ReplicationLink>, error: &TurnError, context: Arc<Context>) -> Action {
    tracing::warn!(link = name(&link), error = format!("{:#}", error.0), "turn failed");
    Action::requeue(context.failed(&name(&link)))
}

async fn reconcile(link: Arc<ReplicationLink>, context: Arc<Context>) -> Result<Action, TurnError> {
    let began = Instant::now();
    let ended = turn(&link, &context).await;
    context.metrics.reconciled("ReplicationLink", ended.is_ok(), began.elapsed());
    if ended.is_ok() {
        context.succeeded(&name(&link));
    }
    Ok(ended?)
}

async fn turn(cached: &ReplicationLink, context: &Context) -> anyhow::Result<Action> {
    let namespace = cached.namespace().unwrap_or_default();
    let client = &context.client;
    let links: Api<ReplicationLink> = Api::namespaced(client.clone(), &namespace);
    let Some(mut resource) = links.get_opt(&cached.name_any()).await? else { return Ok(Action::await_change()) };
    if resource.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let clusters: Api<VectorCluster> = Api::namespaced(client.clone(), &namespace);
    let Some(owner) = clusters.get_opt(&resource.spec.cluster_ref.name).await? else {
        let status = plan_report::link(&resource, &ObservedLink::NoCluster, &now());
        report::link(context, &mut resource, status).await?;
        return Ok(Action::requeue(REQUEUE_AFTER));
    };
    let prerequisites = load_prerequisites(context, &owner).await?;
    let status = match prerequisites.parse(&owner, &context.settings) {
        Err(_) => plan_report::link(&resource, &ObservedLink::ClusterRefused, &now()),
        Ok((cluster, _)) => match ValidLink::parse(&resource, &cluster) {
            Err(refusal) => plan_report::link(&resource, &ObservedLink::Refused(refusal), &now()),
            Ok(link) => {
                let apis = kinds::served(client, context.apis).await?;
                let heard = if link.running { heard(context, &cluster, &link).await? } else { None };
                let poisons = poisons(context, &cluster, &link).await?;
                let seen = ObservedLink::Valid { link: &link, cluster: &cluster, apis, heard, poisons };
                plan_report::link(&resource, &seen, &now())
            }
        },
    };
    report::link(context, &mut resource, status).await?;
    Ok(Action::requeue(REQUEUE_AFTER))
}

/// Records of the source's log that could not be applied, as the leaders of the shards report.
async fn poisons(context: &Context, cluster: &ValidCluster, link: &ValidLink) -> anyhow::Result<Vec<String>> {
    let replicas = replicas(context, cluster).await?;
    let of_link = |status: &ReplicaStatus| -> Vec<String> {
        let shard = status.identity.genesis.shard;
        let poisons = status.poisons.iter().filter(|poison| poison.origin.region == link.source);
        poisons.map(|poison| format!("shard {shard} follows {}: {}", poison.origin, poison.fault)).collect()
    };
    Ok(replicas.iter().flat_map(of_link).collect())
}

/// Whether the source is connected and whether staleness is within its bound, by the worst report of a pod; `None`
/// without reports.
async fn heard(context: &Context, cluster: &ValidCluster, link: &ValidLink) -> kube::Result<Option<(bool, bool)>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let of_cluster = ListParams::default().labels(&format!("{CLUSTER_LABEL}={}", cluster.name));
    let addresses = pods.list(&of_cluster).await?.items.into_iter().filter_map(|pod| pod.status?.pod_ip?.parse().ok());
    let lags = join_all(addresses.map(|address| scrape::lag(address, link.source.as_str()))).await;
    let worst = lags.into_iter().flatten().reduce(f64::max);
    Ok(worst.map(|lag| (lag < SILENCE_SECONDS, lag < BOUND_SECONDS)))
}
