//! Pods that cannot read data of a newer release.

use crate::{Observed, ObservedPod, ValidCluster};

/// These pods with the reason that they report: the version that they need, the newest one they know, and the remedy.
pub(super) fn newer(cluster: &ValidCluster, observed: &Observed) -> Option<String> {
    let pods = observed.shards.iter().flat_map(|(shard, seen)| seen.pods.iter().map(|(o, pod)| (*shard, *o, pod)));
    let messages: Vec<String> = pods
        .filter(|(.., pod)| !pod.deleting)
        .filter_map(|(shard, ordinal, pod)| Some((cluster.pod_name(shard, ordinal), ObservedPod::newer(pod)?)))
        .map(|(pod, reason)| format!("{pod}: {reason}"))
        .collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}
