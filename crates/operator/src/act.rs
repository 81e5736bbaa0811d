//! The one act of a turn.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, Preconditions};
use meridian_plan::{Act, ValidCluster};
use meridian_proto::topology::TopologyAnswer;

use crate::context::Context;
use crate::observe::{ClusterView, host};

/// Result of an act.
pub enum ActOutcome {
    /// It was carried out, or was not necessary.
    Done,
    /// A pod or the API server refused it or could not be reached, with the reason.
    Refused(String),
}

/// Carries out `act`. A refusal is not an error: the next turn reports it and waits.
pub async fn act(
    context: &Context,
    cluster: &ValidCluster,
    view: &ClusterView,
    act: &Act,
) -> anyhow::Result<ActOutcome> {
    context.metrics.act_started(act.name());
    if let Act::Evict { shard, ordinal, uid } = act {
        return evict(context, cluster, &cluster.pod_name(*shard, *ordinal), uid).await;
    }
    let Some(peers) = &view.peers else {
        return Ok(ActOutcome::Refused("there are no peer certificates yet".into()));
    };
    let mut outcome = ActOutcome::Done;
    for (shard, ordinal, call) in act.calls() {
        let pod = cluster.pod_name(shard, ordinal);
        let Some(address) = view.addresses.get(&(shard, ordinal)) else {
            outcome = ActOutcome::Refused(format!("{pod} has no address"));
            continue;
        };
        let refusal = match peers.call(*address, &host(cluster, shard, ordinal), call).await {
            Ok(TopologyAnswer::Done { .. } | TopologyAnswer::Started) => {
                tracing::info!(cluster = cluster.name, %shard, ordinal, act = act.name(), "done");
                continue;
            }
            Ok(TopologyAnswer::Refused(why)) => why,
            Ok(TopologyAnswer::Conflict { version }) => format!("the membership has changed (version {version})"),
            Ok(TopologyAnswer::NotLeader { .. }) => "it no longer leads its shard".into(),
            Ok(TopologyAnswer::Status { .. } | TopologyAnswer::Unknown) => "unexpected answer".into(),
            Err(error) => format!("call: {:#}", anyhow::Error::from(error)),
        };
        tracing::warn!(cluster = cluster.name, %shard, ordinal, act = act.name(), refusal, "not done");
        outcome = ActOutcome::Refused(format!("{pod} refuses {}: {refusal}", act.name()));
    }
    Ok(outcome)
}

/// Evicts through the eviction API, which respects disruption budgets; the UID excludes a later pod of the same name.
async fn evict(context: &Context, cluster: &ValidCluster, pod: &str, uid: &str) -> anyhow::Result<ActOutcome> {
    let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let evict = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
    let answer = Api::<Pod>::namespaced(context.client.clone(), &cluster.namespace).evict(pod, &evict).await;
    context.metrics.wrote("Eviction");
    match answer {
        Ok(_) => tracing::info!(cluster = cluster.name, pod, "evicted"),
        // The pod is already gone.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
            tracing::info!(cluster = cluster.name, pod, code = status.code, "not evicted");
        }
        // 429: a budget does not allow it now. 500: several budgets select the pod, which the API server does not
        // support. Every answer is reported with the API server's message.
        Err(kube::Error::Api(status)) => {
            tracing::info!(cluster = cluster.name, pod, code = status.code, "not evicted");
            return Ok(ActOutcome::Refused(format!("the API server does not evict {pod} now: {}", status.message)));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ActOutcome::Done)
}
