//! Restarts of pods that run an older revision: one at a time in the cluster, the leader of a shard last.

use meridian_crd::Operation;
use meridian_crd::conditions::{Predicate, operation as op, predicate};
use meridian_model::ShardNumber;

use super::group::running;
use super::{Act, Group, in_progress, waiting};
use crate::{ObservedPod, ObservedShard, ValidCluster};

/// Returns true if the pod runs a healthy voter.
fn is_healthy(group: Option<&Group<'_>>, pod: &ObservedPod) -> bool {
    group.zip(running(pod)).is_some_and(|(group, status)| group.is_healthy_voter(status.identity.replica))
}

/// The next restart, and the operation of each shard that has pods to restart.
pub(super) fn next(cluster: &ValidCluster, seen: &[(ShardNumber, &ObservedShard)]) -> (Option<Act>, Vec<Operation>) {
    let groups: Vec<_> = seen.iter().map(|(shard, seen)| (*shard, *seen, Group::of(cluster, *shard, seen))).collect();
    let wanted = 0..cluster.replicas;
    let first_unhealthy = groups.iter().find_map(|(shard, seen, group)| {
        let healthy = |ordinal: &u16| seen.pods.get(ordinal).is_some_and(|pod| is_healthy(group.as_ref(), pod));
        wanted.clone().find(|ordinal| !healthy(ordinal)).map(|ordinal| {
            let failure_reason = seen.pods.get(&ordinal).and_then(|pod| pod.failure_reason.as_ref());
            let failure_reason =
                failure_reason.map_or_else(String::new, |failure_reason| format!(": {failure_reason}"));
            format!("waiting for pod {} to become ready{failure_reason}", cluster.pod_name(*shard, ordinal))
        })
    });
    let mut act = None;
    let mut operations = Vec::new();
    for (shard, seen, group) in &groups {
        let settled = seen.stateful_set.is_some_and(|set| set.settled && !set.deleting);
        if !settled || !seen.pods.values().any(|pod| pod.outdated) {
            continue;
        }
        let turn = if act.is_none() {
            restart(cluster, *shard, seen, group.as_ref(), first_unhealthy.as_deref())
        } else {
            None
        };
        let operation = match turn {
            Some(Ok((wanted, operation))) => {
                act = Some(wanted);
                operation
            }
            Some(Err(operation)) => operation,
            None => waiting(
                op::ROLLING_UPDATE,
                cluster.shard_name(*shard),
                predicate::NO_OTHER_RESTART,
                "another pod is being restarted",
            ),
        };
        operations.push(operation);
    }
    (act, operations)
}

/// The next restart of this shard, or the condition that it waits for.
fn restart(
    cluster: &ValidCluster,
    shard: ShardNumber,
    seen: &ObservedShard,
    group: Option<&Group<'_>>,
    first_unhealthy: Option<&str>,
) -> Option<Result<(Act, Operation), Operation>> {
    let outdated = || seen.pods.iter().rev().filter(|(_, pod)| pod.outdated);
    let evict = |ordinal: u16, pod: &ObservedPod| {
        let operation = in_progress(op::ROLLING_UPDATE, cluster.pod_name(shard, ordinal));
        Some(Ok((Act::Evict { shard, ordinal, uid: pod.uid.clone() }, operation)))
    };
    let wait = |ordinal: u16, awaited: Predicate, message: String| {
        Some(Err(waiting(op::ROLLING_UPDATE, cluster.pod_name(shard, ordinal), awaited, message)))
    };
    // A pod that is already down costs no availability, and its restart is how a bad revision is rolled back.
    if let Some((ordinal, pod)) = outdated().find(|(_, pod)| !is_healthy(group, pod) && !pod.deleting) {
        let harmless = match (group, running(pod)) {
            (Some(group), Some(status)) => group.survives_absence(status.identity.replica),
            (Some(_), None) => true,
            // Without a leader the needed replicas are unknown: only a pod that is not ready is restarted.
            (None, None) => !pod.ready,
            // A replica that stopped before an entry of a newer release serves nothing until it runs that release.
            (None, Some(_)) => pod.newer().is_some(),
        };
        if harmless {
            return evict(*ordinal, pod);
        }
        return wait(*ordinal, predicate::QUORUM_SURVIVES, "its shard would have no quorum without it".into());
    }
    let (first, _) = outdated().next()?;
    let Some(group) = group else {
        return wait(*first, predicate::QUORUM_AVAILABLE, "its shard has no leader that a majority follows".into());
    };
    if let Some(first_unhealthy) = first_unhealthy {
        return wait(*first, predicate::ALL_REPLICAS_CAUGHT_UP, first_unhealthy.into());
    }
    let alone = cluster.replicas == 1 && group.voters.len() == 1;
    let leads = |ordinal: &u16| *ordinal == group.leader;
    if let Some((ordinal, pod)) = outdated().find(|(ordinal, _)| !leads(ordinal) || alone) {
        let replica = running(pod)?.identity.replica;
        // A single replica cannot be restarted without a pause; that follows from the spec.
        if alone || group.survives_absence(replica) {
            return evict(*ordinal, pod);
        }
        return wait(
            *ordinal,
            predicate::QUORUM_SURVIVES,
            format!("the quorum would not hold without replica {replica}"),
        );
    }
    let up_to_date = |ordinal: u16| seen.pods.get(&ordinal).is_some_and(|pod| !pod.outdated);
    match group.successor(up_to_date) {
        Some(to) => {
            let operation = in_progress(op::ROLLING_UPDATE, cluster.pod_name(shard, group.leader));
            Some(Ok((Act::TransferLeader { shard, leader: group.leader, to }, operation)))
        }
        None => wait(
            group.leader,
            predicate::SUCCESSOR_CAUGHT_UP,
            "no restarted voter has caught up with the leader".into(),
        ),
    }
}
