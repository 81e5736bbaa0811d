//! Rolls caused by the operator itself, through another default image or another release: one cluster after another.
//!
//! An applied template takes effect at the next drain, independently of the operator, so a template is applied only
//! with a slot. Edits of users, repairs and new clusters need no slot.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meridian_crd::conditions::{operation as op, predicate, type_};
use meridian_crd::{BlockedBy, Operation, RolloutStatus, VectorCluster, VectorClusterSpec, VectorClusterStatus};
use meridian_model::{ClusterId, ShardNumber};
use meridian_proto::topology::PodStatus;
use serde_json::Value;

use crate::names::{INPUTS_ANNOTATION, TEMPLATE_ANNOTATION};
use crate::render::{Object, content_hash};
use crate::{Observed, ObservedShard, ValidCluster, difference};

/// Time without progress after which a rolling cluster stops all further rolls: an image that fails in one cluster may
/// fail in all.
pub const STALLED_AFTER: Duration = Duration::from_secs(15 * 60);

/// The cause of a difference between the rendered and the live template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There is no difference, someone else edited the live object, or it does not exist.
    None,
    /// The user edited the spec.
    Edit,
    /// The operator renders the same spec differently.
    Own,
}

/// `object` with hashes of its pod template and of the fields that the template depends on, for [`change`].
#[must_use]
pub fn marked(object: Object, spec: &VectorClusterSpec, id: ClusterId) -> Object {
    let mut json = object.as_json().clone();
    if json["kind"] != "StatefulSet" {
        return object;
    }
    let template = content_hash(&json["spec"]["template"].to_string());
    let annotations = &mut json["metadata"]["annotations"];
    annotations[TEMPLATE_ANNOTATION] = template.into();
    annotations[INPUTS_ANNOTATION] = inputs(spec, id).into();
    Object::from_json(json)
}

/// Hash of the spec's fields that a pod template depends on, without those that restart nothing (replicas, routes,
/// upgrades), and of the id, which an adoption changes.
fn inputs(spec: &VectorClusterSpec, id: ClusterId) -> String {
    let spec = VectorClusterSpec { replicas_per_shard: 0, traffic: None, upgrade: None, ..spec.clone() };
    content_hash(&format!("{id} {}", serde_json::to_string(&spec).expect("specs have text keys only")))
}

/// The cause for which the template of `wanted`, which is [`marked`], differs from that of `live`.
#[must_use]
pub fn change(live: Option<&Value>, wanted: &Object) -> Change {
    let Some(live) = live.filter(|_| wanted.as_json()["kind"] == "StatefulSet") else { return Change::None };
    let wanted = wanted.as_json();
    let mark = |object: &Value, name: &str| object["metadata"]["annotations"][name].as_str().map(ToOwned::to_owned);
    match mark(live, TEMPLATE_ANNOTATION) {
        Some(template) if Some(&template) == mark(wanted, TEMPLATE_ANNOTATION).as_ref() => Change::None,
        Some(_) if mark(live, INPUTS_ANNOTATION) != mark(wanted, INPUTS_ANNOTATION) => Change::Edit,
        Some(_) => Change::Own,
        // A release without these annotations applied it.
        None if difference::shows(&live["spec"]["template"], &wanted["spec"]["template"]) => Change::None,
        None => Change::Own,
    }
}

/// Checks whether `own` may take one of `most` slots to roll to `image`. The check and the write of the slot to the
/// status need a common lock.
/// `clusters`: all watched clusters, in any order, `own` included or not.
///
/// # Errors
/// The condition that it waits for, for `blockedBy`.
pub fn may_roll(
    own: &VectorCluster,
    clusters: &[VectorCluster],
    most: usize,
    image: &str,
    now: &Time,
) -> Result<(), String> {
    let id = |cluster: &VectorCluster| (cluster.metadata.namespace.clone(), cluster.metadata.name.clone());
    let name = |cluster: &VectorCluster| {
        let (namespace, name) = id(cluster);
        format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
    };
    let others = || clusters.iter().filter(|other| id(other) != id(own) && other.metadata.deletion_timestamp.is_none());
    let roll = |cluster: &VectorCluster| cluster.status.as_ref().and_then(|status| status.rollout.clone());
    if roll(own).is_some() {
        return Ok(());
    }
    // A roll to a former default does not stop others: its cluster continues to the new one in its slot.
    let stalled = |roll: &RolloutStatus| roll.image == image && is_stalled(roll, now);
    if let Some(stuck) = others().find(|other| roll(other).is_some_and(|roll| stalled(&roll) && roll.was_ready)) {
        let minutes = STALLED_AFTER.as_secs() / 60;
        return Err(format!("{} has made no progress for {minutes} minutes with {image}", name(stuck)));
    }
    let rolling: Vec<String> =
        others().filter(|other| roll(other).is_some_and(|roll| !stalled(&roll))).map(name).collect();
    if rolling.len() >= most {
        return Err(format!("{} rolls (maxConcurrentRollouts is {most})", rolling.join(", ")));
    }
    let before_us = |other: &&VectorCluster| {
        let status = other.status.as_ref();
        is_ready(status) && status.is_some_and(|status| status.default_image.as_deref() != Some(image))
    };
    match others().find(before_us) {
        Some(ready) if !is_ready(own.status.as_ref()) => Err(format!("{} is Ready and rolls first", name(ready))),
        _ => Ok(()),
    }
}

fn is_stalled(roll: &RolloutStatus, now: &Time) -> bool {
    now.0.duration_since(roll.last_progress_time.0).as_secs() >= STALLED_AFTER.as_secs().cast_signed()
}

/// The operation of a cluster that waits for a slot.
#[must_use]
pub fn waiting_for_slot(cluster: &ValidCluster, why: String) -> Operation {
    let blocked_by = Some(BlockedBy { predicate: predicate::ROLLOUT_SLOT_FREE.to_string(), message: why });
    Operation { type_: op::ROLLING_UPDATE.to_string(), target: cluster.name.clone(), blocked_by }
}

/// Returns true if the condition `Ready` is true.
#[must_use]
pub fn is_ready(status: Option<&VectorClusterStatus>) -> bool {
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| type_::READY == *condition.type_ && condition.status == "True")
}

/// The slot of a cluster that begins to roll.
#[must_use]
pub fn begun(status: Option<&VectorClusterStatus>, image: &str, now: &Time) -> RolloutStatus {
    RolloutStatus {
        image: image.into(),
        last_progress_time: now.clone(),
        updated_replicas: 0,
        was_ready: is_ready(status),
    }
}

/// The slot after an observation of the pods; `None` if the roll is complete. `pending`: a template is not applied yet.
#[must_use]
pub fn progressed(
    roll: &RolloutStatus,
    cluster: &ValidCluster,
    observed: &Observed,
    image: &str,
    pending: bool,
    now: &Time,
) -> Option<RolloutStatus> {
    let updated = observed.shards.values().map(updated_pods).sum();
    let settled = ShardNumber::all(cluster.shards).all(|shard| {
        let set = observed.shards.get(&shard).and_then(|seen| seen.stateful_set);
        set.is_some_and(|set| set.settled && !set.deleting)
    });
    let wanted = i32::from(cluster.shards) * i32::from(cluster.replicas);
    if !pending && settled && updated >= wanted {
        return None;
    }
    let moved = updated > roll.updated_replicas || roll.image != image;
    Some(RolloutStatus {
        image: image.into(),
        last_progress_time: if moved { now.clone() } else { roll.last_progress_time.clone() },
        updated_replicas: updated,
        was_ready: roll.was_ready,
    })
}

/// Number of pods that serve and run the newest template.
fn updated_pods(seen: &ObservedShard) -> i32 {
    let settled = seen.stateful_set.is_some_and(|set| set.settled);
    let serves = |pod: &&crate::ObservedPod| match &pod.answer {
        Some(PodStatus::Running(status)) => !pod.outdated && !pod.deleting && status.ready,
        _ => false,
    };
    if settled { i32::try_from(seen.pods.values().filter(serves).count()).unwrap_or(i32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests;
