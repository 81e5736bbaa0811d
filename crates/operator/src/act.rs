//! The one act of a turn.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, Preconditions};
use meridian_plan::{Act, ValidCluster};
use meridian_wire::topology::TopologyAnswer;

use crate::context::Context;
use crate::observe::{Sight, host};

/// Carries out `act`. What is refused for now is no failure: the next turn sees why.
pub async fn act(context: &Context, cluster: &ValidCluster, sight: &Sight, act: &Act) -> anyhow::Result<()> {
    context.metrics.acted(act.name());
    if let Act::Evict { shard, ordinal, uid } = act {
        return evict(context, cluster, &cluster.pod_name(*shard, *ordinal), uid).await;
    }
    let Some(peers) = &sight.peers else { return Ok(()) };
    for (shard, ordinal, call) in act.calls() {
        let Some(address) = sight.addresses.get(&(shard, ordinal)) else { continue };
        match peers.call(*address, &host(cluster, shard, ordinal), call).await {
            Ok(TopologyAnswer::Done { .. } | TopologyAnswer::Started) => {
                tracing::info!(cluster = cluster.name, %shard, ordinal, act = act.name(), "done");
            }
            Ok(answer) => {
                tracing::warn!(cluster = cluster.name, %shard, ordinal, act = act.name(), ?answer, "not done")
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(cluster = cluster.name, %shard, ordinal, act = act.name(), error, "not done");
            }
        }
    }
    Ok(())
}

/// Through the eviction API, which a budget can stop; and that pod only, not a later one of its name.
async fn evict(context: &Context, cluster: &ValidCluster, pod: &str, uid: &str) -> anyhow::Result<()> {
    let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let evict = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
    let answer = Api::<Pod>::namespaced(context.client.clone(), &cluster.namespace).evict(pod, &evict).await;
    context.metrics.wrote("Eviction");
    match answer {
        Ok(_) => tracing::info!(cluster = cluster.name, pod, "evicted"),
        // 429: a budget says not now; 404 and 409: that pod is gone already.
        Err(kube::Error::Api(status)) if [404, 409, 429].contains(&status.code) => {
            tracing::info!(cluster = cluster.name, pod, code = status.code, "not evicted");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
