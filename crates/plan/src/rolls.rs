//! Rolls that the operator itself causes, by another default image or another release: one cluster after another.
//!
//! An applied template takes effect at the next drain, whatever the operator does, so a template is applied only with a slot.
//! Edits of users, repairs and new clusters need none.

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

/// A cluster that rolls and makes no progress for so long stops all further rolls: an image that is bad for one is bad for all.
pub const STALLED_AFTER: Duration = Duration::from_secs(15 * 60);

/// Why a template differs from the one that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It does not, or somebody else edited what stands, or nothing stands yet.
    None,
    /// The user edited the spec.
    Edit,
    /// The operator renders the same spec in another way.
    Own,
}

/// `object` with the hashes of its pod template and of what users said of it, by which [`change`] judges later.
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

/// Hash of what users say of the pods: the spec without what restarts nothing (replicas, routes), and the id, which an adoption
/// changes.
fn inputs(spec: &VectorClusterSpec, id: ClusterId) -> String {
    let spec = VectorClusterSpec { replicas_per_shard: 0, traffic: None, ..spec.clone() };
    content_hash(&format!("{id} {}", serde_json::to_string(&spec).expect("specs have text keys only")))
}

/// Why the template of `wanted`, which is marked, differs from that of `live`.
#[must_use]
pub fn change(live: Option<&Value>, wanted: &Object) -> Change {
    let Some(live) = live.filter(|_| wanted.as_json()["kind"] == "StatefulSet") else { return Change::None };
    let wanted = wanted.as_json();
    let mark = |object: &Value, name: &str| object["metadata"]["annotations"][name].as_str().map(ToOwned::to_owned);
    match mark(live, TEMPLATE_ANNOTATION) {
        Some(template) if Some(&template) == mark(wanted, TEMPLATE_ANNOTATION).as_ref() => Change::None,
        Some(_) if mark(live, INPUTS_ANNOTATION) != mark(wanted, INPUTS_ANNOTATION) => Change::Edit,
        Some(_) => Change::Own,
        // A release without marks applied it.
        None if difference::shows(&live["spec"]["template"], &wanted["spec"]["template"]) => Change::None,
        None => Change::Own,
    }
}

/// Whether `own` may take a slot to roll to `image`, of which there are `most`. It is asked, and the slot is noted in its status,
/// under one lock.
///
/// # Errors
/// What it waits for, in words.
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
    // A roll to a former default is no stop: its cluster goes on to the new one in the slot that it has.
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
        Some(ready) if !is_ready(own.status.as_ref()) => Err(format!("{} is Ready and goes first", name(ready))),
        _ => Ok(()),
    }
}

fn is_stalled(roll: &RolloutStatus, now: &Time) -> bool {
    now.0.duration_since(roll.last_progress_time.0).as_secs() >= STALLED_AFTER.as_secs().cast_signed()
}

/// What a cluster without a slot waits for.
#[must_use]
pub fn waiting_for_slot(cluster: &ValidCluster, why: String) -> Operation {
    let blocked_by = Some(BlockedBy { predicate: predicate::ROLLOUT_SLOT_FREE.to_string(), message: why });
    Operation { type_: op::ROLLING_UPDATE.to_string(), target: cluster.name.clone(), blocked_by }
}

/// Whether a status says `Ready`.
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

/// The slot after a look at the pods; none when the roll is over. `pending`: a template is still to be applied.
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

/// Pods that serve and run the newest template.
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
