//! Replicas whose disks are full, or that have no memory for a snapshot, and the change that unblocks them.

use meridian_crd::conditions::{self as c, reason};
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

/// The pods with full disks. A region that follows another takes nothing while its disks are full, the deletes among it
/// included.
pub(super) fn full_disks(cluster: &ValidCluster, observed: &Observed) -> Option<String> {
    let full = running(cluster, observed).filter(|(_, status)| status.disk != DiskLevel::Free);
    let full: Vec<String> = full.map(|(pod, _)| pod).collect();
    let sources: Vec<&str> = cluster.links.iter().map(|link| link.source.as_str()).collect();
    let awaited = if sources.is_empty() {
        "deletes, dropped collections or larger volumes".into()
    } else {
        format!("larger volumes; deletes in {} free nothing here while disks are full", sources.join(", "))
    };
    (!full.is_empty()).then(|| cut(&format!("full disks of {}: waiting for {awaited}", full.join(", "))))
}

/// `CapacityRisk`: replicas have no room for a snapshot in memory, or use the reserve of their disks.
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
            DiskLevel::Exhausted => Some(format!("{pod} (used up)")),
        })
        .collect();
    let mut told = Vec::new();
    if !memory.is_empty() {
        told.push(format!(
            "a snapshot does not fit into the memory of {}: raise spec.resources.limits.memory or drop a collection",
            memory.join(", ")
        ));
    }
    if !disks.is_empty() {
        told.push(format!(
            "the disk's reserve is in use in {}: enlarge the PersistentVolumeClaim or delete points",
            disks.join(", ")
        ));
    }
    match (memory.is_empty(), disks.is_empty()) {
        (true, true) if running().next().is_none() => {
            Finding(c::CAPACITY_RISK, None, reason::UNKNOWN, "no pod has answered yet".into())
        }
        (true, true) => {
            let message = "every replica that answers has disk and memory left".into();
            Finding(c::CAPACITY_RISK, Some(false), reason::CAPACITY_LEFT, message)
        }
        (false, _) => Finding(c::CAPACITY_RISK, Some(true), reason::MEMORY_SHORT, cut(&told.join("; "))),
        (true, false) => Finding(c::CAPACITY_RISK, Some(true), reason::DISK_SHORT, cut(&told.join("; "))),
    }
}
