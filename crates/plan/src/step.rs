//! The next step of a cluster: observations in, one [`Step`] out.
//!
//! ```text
//!   bootstrap ──► grow (join, learner, promote) ◄──► shrink (transfer, remove, then one pod less)
//!                         │ replace (lost or damaged volume: remove, join under a new id)
//!                         └──► roll (evict followers, transfer, evict the old leader)
//! ```
//!
//! A turn derives everything from its observations, so a crash costs one turn. Allocated replica ids are the exception:
//! [`ReplicaIdAllocator`] stores them, and it is written before the act.

mod act;
mod group;
mod refused;
mod roll;
mod shard;

use std::collections::BTreeMap;

use meridian_crd::conditions::{OperationType, Predicate, operation as op, predicate};
use meridian_crd::{BlockedBy, Operation};
use meridian_model::ShardNumber;

pub use act::Act;
pub(crate) use group::{Group, running};
pub use refused::RefusedAct;
pub use shard::next_shard_move;

use crate::upgrade::{OtherWork, Rules, UpgradeStep, images, next_upgrade_step};
use crate::{Observed, ObservedShard, ReplicaIdAllocator, ValidCluster};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Allocated ids, to be written before the act.
    pub allocators: BTreeMap<ShardNumber, ReplicaIdAllocator>,
    /// `spec.replicas` of each shard's StatefulSet.
    pub replicas: BTreeMap<ShardNumber, u16>,
    /// The one act after the objects are applied.
    pub act: Option<Act>,
    /// Operations in progress, with the conditions that they wait for.
    pub operations: Vec<Operation>,
    /// Behavior versions, and the image that is refused.
    pub upgrade: UpgradeStep,
}

/// The next move of one shard, regardless of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardMove {
    /// Allocated ids, to be written before the act.
    pub allocator: ReplicaIdAllocator,
    /// `spec.replicas` of its StatefulSet.
    pub replicas: u16,
    /// The act.
    pub act: Option<Act>,
    /// The operation in progress, with the condition that it waits for.
    pub operation: Option<Operation>,
}

/// The next step of a cluster: at most one act, that of the first shard that has one.
///
/// Membership changes come before restarts, and only one pod of the cluster is restarted at a time.
///
/// ```
/// use meridian_model::{ClusterId, ShardNumber};
/// use meridian_plan::{Observed, Settings, ValidCluster, next_step};
///
/// let resource = serde_saphyr::from_str(
///     "
/// apiVersion: meridiandb.io/v1alpha1
/// kind: VectorCluster
/// metadata: {name: vector-search, namespace: us-east}
/// spec: {region: us-east, shards: 1, replicasPerShard: 3, storage: {size: 1Gi}}
/// ",
/// )?;
/// let cluster = ValidCluster::parse(&resource, &[], ClusterId(7), &Settings::default())?;
///
/// // Nothing exists yet: three pods are wanted, and the group is bootstrapped once all of them answer.
/// let step = next_step(&cluster, &Observed::default());
/// assert_eq!(step.replicas[&ShardNumber::FIRST], 3);
/// assert_eq!(step.act, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn next_step(cluster: &ValidCluster, observed: &Observed) -> Step {
    let nothing = ObservedShard::default();
    let seen: Vec<(ShardNumber, &ObservedShard)> = ShardNumber::all(cluster.shards)
        .map(|shard| (shard, observed.shards.get(&shard).unwrap_or(&nothing)))
        .collect();
    let mut step = Step {
        allocators: BTreeMap::new(),
        replicas: BTreeMap::new(),
        act: None,
        operations: Vec::new(),
        upgrade: UpgradeStep::none(),
    };
    let mut moves: Vec<ShardMove> = seen.iter().map(|(shard, seen)| next_shard_move(cluster, *shard, seen)).collect();
    wait_for_all_volumes(cluster, &seen, &mut moves);
    for ((shard, seen), wanted) in seen.iter().zip(moves) {
        let wanted = refused::held_back(wanted, &observed.refused, &seen.allocator);
        step.replicas.insert(*shard, wanted.replicas);
        step.operations.extend(wanted.operation);
        // Ids are allocated for an act. Shards whose act is not carried out keep their stored allocator.
        let turn = step.act.is_none() || wanted.act.is_none();
        step.allocators.insert(*shard, if turn { wanted.allocator } else { seen.allocator.clone() });
        step.act = step.act.or(wanted.act);
    }
    if step.act.is_none() {
        let (act, operations) = roll::next(cluster, &seen);
        let (act, operations) = refused::roll_held_back(act, operations, &observed.refused);
        step.act = act;
        step.operations.extend(operations);
    }
    upgrade(cluster, observed, &seen, &mut step);
    step
}

/// Versions come last: replicas are repaired and pods restarted before a version is finalized.
fn upgrade(cluster: &ValidCluster, observed: &Observed, seen: &[(ShardNumber, &ObservedShard)], step: &mut Step) {
    let shards = seen.iter().copied().collect();
    let mut upgrade = observed.upgrade.clone();
    let refused_image = images(cluster, &shards, &mut upgrade.before);
    let image = refused_image.as_ref().and_then(|refused| refused.accepted.as_ref()).unwrap_or(&cluster.image);
    let other = OtherWork { acts: step.act.is_some(), under_way: under_way(cluster, seen, step, image) };
    let next = next_upgrade_step(cluster, &shards, &Rules::of(cluster), &upgrade, &other);
    let mut next = refused::upgrade_held_back(next, &observed.refused);
    next.refused_image = refused_image;
    step.act = step.act.take().or(next.act.take());
    step.upgrade = next;
}

/// The work that must end before a version is finalized, in words. A pod with another image than `image` is about to be
/// restarted.
fn under_way(
    cluster: &ValidCluster,
    seen: &[(ShardNumber, &ObservedShard)],
    step: &Step,
    image: &str,
) -> Option<String> {
    if let Some(operation) = step.operations.first() {
        return Some(format!("{} {}", operation.type_, operation.target));
    }
    let unsettled = seen.iter().find(|(_, seen)| !seen.stateful_set.is_some_and(|set| set.settled && !set.deleting));
    if let Some((shard, _)) = unsettled {
        return Some(format!("StatefulSet {} changes", cluster.shard_name(*shard)));
    }
    let pods = seen.iter().flat_map(|(shard, seen)| seen.pods.iter().map(|(ordinal, pod)| (*shard, *ordinal, pod)));
    let mut others = pods.filter(|(.., pod)| pod.image.as_ref().is_some_and(|own| own != image));
    let (shard, ordinal, _) = others.next()?;
    Some(format!("pod {} runs another image than {image}", cluster.pod_name(shard, ordinal)))
}

/// The bootstrap of the first shard determines the cluster of the volumes, so it waits for the pods of all shards. No
/// shard is bootstrapped while a pod has a volume of another cluster, since the user may want to adopt that cluster's
/// volumes. The cluster of a volume of a newer release is unknown.
fn wait_for_all_volumes(cluster: &ValidCluster, seen: &[(ShardNumber, &ObservedShard)], moves: &mut [ShardMove]) {
    let unusable_volume =
        seen.iter().find_map(|(shard, seen)| Some((cluster.pod_name(*shard, seen.unusable_volume()?), seen)));
    let begun = seen.iter().any(|(_, seen)| !seen.allocator.bootstrap_ids.is_empty())
        || moves.iter().any(|wanted| wanted.allocator.bootstrapped);
    let is_silent = |wanted: &&ShardMove| {
        let blocked = wanted.operation.as_ref().and_then(|operation| operation.blocked_by.as_ref());
        blocked.is_some_and(|blocked| predicate::PODS_REACHABLE == *blocked.predicate)
    };
    let silent = moves.iter().find(is_silent).filter(|_| !begun).and_then(|wanted| wanted.operation.clone());
    let (awaited, why) = match (unusable_volume, silent) {
        (Some((pod, seen)), _) if seen.pods.values().all(|pod| pod.foreign().is_none()) => (
            predicate::VERSION_KNOWN,
            format!("{pod} has a volume of a newer release; no shard is bootstrapped while it does"),
        ),
        (Some((pod, _)), _) => (
            predicate::VOLUMES_OWNED,
            format!("{pod} has a volume of another cluster; no shard is bootstrapped while it does"),
        ),
        (None, Some(silent)) => (
            predicate::PODS_REACHABLE,
            format!("{} waits for its pods; no shard is bootstrapped before all volumes have reported", silent.target),
        ),
        (None, None) => return,
    };
    for ((shard, seen), wanted) in seen.iter().zip(moves) {
        if matches!(wanted.act, Some(Act::Bootstrap { .. })) {
            wanted.operation = Some(waiting(op::CREATE, cluster.shard_name(*shard), awaited, why.clone()));
            wanted.allocator = seen.allocator.clone();
            wanted.act = None;
        }
    }
}

/// An operation that waits for nothing.
pub(crate) fn in_progress(type_: OperationType, target: String) -> Operation {
    Operation { type_: type_.to_string(), target, blocked_by: None }
}

/// An operation that waits for `predicate`.
pub(crate) fn waiting(
    type_: OperationType,
    target: String,
    predicate: Predicate,
    message: impl Into<String>,
) -> Operation {
    let blocked_by = Some(BlockedBy { predicate: predicate.to_string(), message: message.into() });
    Operation { type_: type_.to_string(), target, blocked_by }
}

#[cfg(test)]
mod tests;
