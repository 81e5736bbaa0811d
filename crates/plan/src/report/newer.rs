//! Pods that cannot read what a newer release wrote.

use crate::{Observed, ObservedPod, ValidCluster};

/// Such pods with their own words: the version that is needed, the newest one known, and what to do.
pub(super) fn newer(cluster: &ValidCluster, observed: &Observed) -> Option<String> {
    let pods = observed.shards.iter().flat_map(|(shard, seen)| seen.pods.iter().map(|(o, pod)| (*shard, *o, pod)));
    let messages: Vec<String> = pods
        .filter(|(.., pod)| !pod.deleting)
        .filter_map(|(shard, ordinal, pod)| Some((cluster.pod_name(shard, ordinal), ObservedPod::newer(pod)?)))
        .map(|(pod, reason)| format!("{pod}: {reason}"))
        .collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}
