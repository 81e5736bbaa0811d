//! Replicas whose disks are full or that have no memory for a snapshot, and the change that unblocks them.

use meridian_crd::conditions::{reason, type_ as c};
use meridian_proto::topology::{DiskLevel, PodStatus, ReplicaStatus};

use super::{Finding, cut};
use crate::{Observed, ValidCluster};

/// The pods that run a replica, by name.
fn running<'a>(cluster: &'a ValidCluster, observed: &'a Observed) -> impl Iterator<Item = (String, &'a ReplicaStatus)> {
    observed.shards.iter().flat_map(|(shard, seen)| {
        seen.pods.iter().filter_map(|(ordinal, pod)| match &pod.answer {
            Some(PodStatus::Running(status)) => Some((cluster.pod_name(*shard, *ordinal), &**status)),
            _ => None,
        })
    })
}

/// `CapacityRisk`: a snapshot does not fit into the memory of replicas, or their disks are full.
pub(super) fn risk(cluster: &ValidCluster, observed: &Observed) -> Finding {
    let running = || running(cluster, observed);
    let mib = |bytes: u64| bytes >> 20;
    let memory: Vec<String> = running()
        .filter_map(|(pod, status)| {
            let seen = status.memory.filter(|memory| memory.is_short)?;
            Some(format!("{pod} ({} of {} MiB used)", mib(seen.used_bytes), mib(seen.limit_bytes)))
        })
        .collect();
    let disks: Vec<String> = running()
        .filter_map(|(pod, status)| match status.disk {
            DiskLevel::Free => None,
            DiskLevel::Reserve => Some(pod),
            DiskLevel::Exhausted => Some(format!("{pod} (reserve used up)")),
        })
        .collect();
    let mut messages = Vec::new();
    if !memory.is_empty() {
        messages.push(format!(
            "a snapshot does not fit into the memory of {}: raise spec.resources.limits.memory or drop a collection",
            memory.join(", ")
        ));
    }
    if !disks.is_empty() {
        messages.push(format!("full disks of {}: waiting for {}", disks.join(", "), disk_remedy(cluster)));
    }
    match (memory.is_empty(), disks.is_empty()) {
        (true, true) if running().next().is_none() => {
            Finding(c::CAPACITY_RISK, None, reason::AWAITING_REPORT, "waiting for the first report of a pod".into())
        }
        (true, true) => {
            let message = "every replica that reports has disk and memory left".into();
            Finding(c::CAPACITY_RISK, Some(false), reason::SUFFICIENT_CAPACITY, message)
        }
        (false, _) => Finding(c::CAPACITY_RISK, Some(true), reason::INSUFFICIENT_MEMORY, cut(&messages.join("; "))),
        (true, false) => Finding(c::CAPACITY_RISK, Some(true), reason::DISK_FULL, cut(&messages.join("; "))),
    }
}

/// A region with links applies nothing while its disks are full, deletes included: only larger volumes help.
fn disk_remedy(cluster: &ValidCluster) -> String {
    let sources: Vec<&str> = cluster.links.iter().map(|link| link.source.as_str()).collect();
    if sources.is_empty() {
        return "deletes, dropped collections or larger volumes".into();
    }
    format!("larger volumes; deletes in {} free nothing here while disks are full", sources.join(", "))
}
