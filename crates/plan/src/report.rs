//! Statuses: only observed facts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use meridian_crd::conditions::{Reason, Type, operation, reason, type_ as c};
use meridian_crd::{MirrorMaker2Mode, Operation, ReplicationLink, ReplicationLinkStatus, VectorClusterStatus};
use meridian_model::ShardNumber;
use meridian_proto::topology::PodStatus;

use crate::ownership::{Blocked, Cause};
use crate::step::Group;
use crate::{Apis, Observed, Refusal, Step, ValidCluster, ValidLink, adoption};

mod capacity;
mod keys;
mod newer;
mod upgrade;

const NO_STRIMZI: &str =
    "kafka.strimzi.io/v1 is not installed: install Strimzi, or set mirrorMaker2.mode to Deployment or External";
const NO_ISTIO: &str =
    "networking.istio.io/v1 is not installed, so there are no routes: install Istio, or remove traffic.istio";
const DEPENDENCIES_EXIST: &str = "the Secrets and APIs that the spec needs exist";

/// The new state of a condition: type, status (`None` is `Unknown`), reason, message.
struct Finding(Type, Option<bool>, Reason, String);

/// Results of a turn that its status reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// The turn wrote objects, so the observation is out of date, and the status claims no completion.
    pub changed: bool,
    /// Objects that were not applied.
    pub blocked: &'a [Blocked],
    /// The refusal of the newest spec; the turn continued with the last accepted one.
    pub refusal: Option<&'a Refusal>,
}

/// The status of a cluster after a turn that observed `observed` and decided on `step`.
#[must_use]
pub fn cluster(
    cluster: &ValidCluster,
    observed: &Observed,
    step: &Step,
    outcome: Outcome<'_>,
    old: &VectorClusterStatus,
    now: &Time,
) -> VectorClusterStatus {
    let mut status = intent(cluster, step, old);
    let wanted = usize::from(cluster.shards) * usize::from(cluster.replicas);
    let ready: usize = observed.shards.values().map(ready_pods).sum();
    let count = |replicas: usize| i32::try_from(replicas).ok();
    (status.replicas, status.ready_replicas) = (count(wanted), count(ready.min(wanted)));
    let leaderless: Vec<String> = ShardNumber::all(cluster.shards)
        .filter(|shard| observed.shards.get(shard).is_none_or(|seen| Group::of(cluster, *shard, seen).is_none()))
        .map(|shard| cluster.shard_name(shard))
        .collect();
    let missing = missing(cluster, observed);
    let refused_image = upgrade::refused_image(step);
    let busy = outcome.changed
        || refused_image.is_some()
        || step.act.is_some()
        || !step.operations.is_empty()
        || !outcome.blocked.is_empty();
    let lost = step.operations.iter().find(|it| operation::REPLACE_REPLICA == *it.type_);
    let foreign = adoption::foreign_volumes(cluster, observed, &status).map(|message| cut(&message));
    let newer = newer::newer(cluster, observed).map(|message| cut(&message));
    let available = leaderless.is_empty();
    let done = !busy && available && ready >= wanted && missing.is_none();
    let stuck = stuck(outcome.blocked).or(refused_image);
    let (why, message) = match (&stuck, &foreign, &newer) {
        (Some((why, message)), ..) => (*why, message.clone()),
        (None, Some(message), _) => (reason::FOREIGN_VOLUME, message.clone()),
        (None, None, Some(message)) => (reason::VERSION_UNKNOWN, message.clone()),
        (None, None, None) => summary(step, &leaderless, ready, wanted, missing.as_ref(), outcome.blocked),
    };
    let progressing = !done && stuck.is_none();
    let findings = [
        match outcome.refusal {
            None => Finding(c::ACCEPTED, Some(true), reason::AS_EXPECTED, "the spec is accepted".into()),
            Some(refusal) => Finding(c::ACCEPTED, Some(false), reason::INVALID_SPEC, refusal.to_string()),
        },
        match &missing {
            None => Finding(c::DEPENDENCIES_READY, Some(true), reason::AS_EXPECTED, DEPENDENCIES_EXIST.into()),
            Some((why, message)) => Finding(c::DEPENDENCIES_READY, Some(false), *why, message.clone()),
        },
        if available {
            Finding(
                c::AVAILABLE,
                Some(true),
                reason::QUORUM_HEALTHY,
                "every shard has a leader that a majority follows".into(),
            )
        } else {
            Finding(c::AVAILABLE, Some(false), reason::QUORUM_LOST, format!("no quorum in {}", leaderless.join(", ")))
        },
        match (foreign, newer, lost, image_fault(cluster, observed)) {
            (Some(message), ..) => Finding(c::DEGRADED, Some(true), reason::FOREIGN_VOLUME, message),
            (None, Some(message), ..) => Finding(c::DEGRADED, Some(true), reason::VERSION_UNKNOWN, message),
            (None, None, Some(operation), _) => {
                Finding(c::DEGRADED, Some(true), reason::REPLACING_REPLICA, describe(operation))
            }
            (None, None, None, Some(message)) => Finding(c::DEGRADED, Some(true), reason::IMAGE_UNAVAILABLE, message),
            (None, None, None, None) => {
                Finding(c::DEGRADED, Some(false), reason::AS_EXPECTED, "no replica is lost".into())
            }
        },
        match observed.certificates.valid(now.0.as_second()) {
            Ok(()) => Finding(
                c::CERTIFICATES_VALID,
                Some(true),
                reason::AS_EXPECTED,
                "the certificate of the pods is valid".into(),
            ),
            Err(why) => Finding(c::CERTIFICATES_VALID, Some(false), reason::RENEWING, why),
        },
        certificates_lost(observed, old, now),
        keys::differ(cluster, observed),
        capacity::risk(cluster, observed),
        upgrade::finalized(step),
        Finding(c::PROGRESSING, Some(progressing), if done { reason::AS_EXPECTED } else { why }, message.clone()),
        match (outcome.refusal, withheld(cluster).filter(|_| done)) {
            (Some(refusal), _) => Finding(c::READY, Some(false), reason::INVALID_SPEC, refusal.to_string()),
            (None, Some(message)) => Finding(c::READY, Some(false), reason::HOST_NOT_ALLOWED, message),
            (None, None) => Finding(c::READY, Some(done), if done { reason::AS_EXPECTED } else { why }, message),
        },
    ];
    let findings = findings.into_iter().chain(traffic(cluster, observed));
    status.observed_generation = Some(cluster.generation);
    status.conditions = merged(&old.conditions, findings, cluster.generation, now);
    if cluster.istio.is_none() {
        status.conditions.retain(|condition| c::TRAFFIC_CONFIGURED != *condition.type_);
    }
    status
}

/// Reason and message of blocked objects that only a user can unblock: name conflicts first, then refusals by the API
/// server.
fn stuck(blocked: &[Blocked]) -> Option<(Reason, String)> {
    let of = |cause: Cause| blocked.iter().filter(move |object| object.cause == cause);
    let describe = |object: &Blocked| format!("{} {}: {}", object.object.kind, object.object.name, object.message);
    let conflicts: Vec<String> = of(Cause::NameConflict).map(describe).collect();
    if !conflicts.is_empty() {
        return Some((reason::NAME_CONFLICT, cut(&conflicts.join("; "))));
    }
    let rejected: Vec<String> = of(Cause::Rejected).map(describe).collect();
    (!rejected.is_empty()).then(|| (reason::OBJECT_REJECTED, cut(&rejected.join("; "))))
}

/// Waiting reasons of the kubelet for an image that it cannot run, in the order of its attempts.
const IMAGE_FAULTS: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];

/// Returns true if the reason of a waiting container, or a text that begins with it, reports an unavailable image.
#[must_use]
pub fn is_image_fault(failure_reason: &str) -> bool {
    IMAGE_FAULTS.iter().any(|fault| failure_reason.starts_with(fault))
}

/// The first pod with an unavailable image.
fn image_fault(cluster: &ValidCluster, observed: &Observed) -> Option<String> {
    let pods = observed.shards.iter().flat_map(|(shard, seen)| seen.pods.iter().map(|(o, pod)| (*shard, *o, pod)));
    pods.filter_map(|(shard, ordinal, pod)| {
        let failure_reason = pod.failure_reason.as_deref()?;
        is_image_fault(failure_reason)
            .then(|| cut(&format!("pod {}: {failure_reason}", cluster.pod_name(shard, ordinal))))
    })
    .next()
}

/// The status that is written before the act: the operations, and the replica ids that they take.
#[must_use]
pub fn intent(cluster: &ValidCluster, step: &Step, old: &VectorClusterStatus) -> VectorClusterStatus {
    VectorClusterStatus {
        cluster_id: Some(cluster.id.to_string()),
        operations: step.operations.iter().chain(&step.upgrade.operations).cloned().collect(),
        upgrade: upgrade::status(step),
        shards: step.allocators.iter().map(|(shard, allocator)| allocator.to_status(*shard)).collect(),
        ..old.clone()
    }
}

/// The status of a cluster whose spec was refused and that has no accepted one: its objects keep running, and its
/// replica ids stay. `why` is `InvalidSpec` or `NameConflict`; `generation` is that of the refused spec.
#[must_use]
pub fn refused(
    generation: i64,
    why: Reason,
    refusal: &Refusal,
    old: &VectorClusterStatus,
    now: &Time,
) -> VectorClusterStatus {
    let message = refusal.to_string();
    let findings = [
        Finding(c::ACCEPTED, Some(false), why, message.clone()),
        Finding(c::PROGRESSING, Some(false), why, message.clone()),
        Finding(c::READY, Some(false), why, message),
    ];
    VectorClusterStatus {
        observed_generation: Some(generation),
        conditions: merged(&old.conditions, findings, generation, now),
        ..old.clone()
    }
}

/// A link's cluster, as far as the link's status needs it.
pub enum ObservedLink<'a> {
    /// The cluster does not exist.
    NoCluster,
    /// The cluster's own spec was refused.
    ClusterRefused,
    /// The link's spec was refused.
    Refused(Refusal),
    /// The link is in effect.
    Valid {
        /// The link.
        link: &'a ValidLink,
        /// Its cluster.
        cluster: &'a ValidCluster,
        /// Optional APIs that are served.
        apis: Apis,
        /// Whether the source is connected and whether staleness is within its bound, as the pods report; `None` if no
        /// pod reports.
        heard: Option<(bool, bool)>,
        /// Records of the source's log that could not be applied, as the leaders report.
        poisons: Vec<String>,
    },
}

/// The status of a link.
#[must_use]
pub fn link(resource: &ReplicationLink, seen: &ObservedLink<'_>, now: &Time) -> ReplicationLinkStatus {
    let generation = resource.metadata.generation.unwrap_or_default();
    let old = resource.status.clone().unwrap_or_default();
    let name = &resource.spec.cluster_ref.name;
    let unknown = |why: Reason, message: String| {
        vec![
            Finding(c::CONNECTED, None, why, message.clone()),
            Finding(c::WITHIN_BOUND, None, why, message.clone()),
            Finding(c::READY, Some(false), why, message),
        ]
    };
    let accepted = Finding(c::ACCEPTED, Some(true), reason::AS_EXPECTED, "the spec is accepted".into());
    let mut findings = match seen {
        ObservedLink::NoCluster => unknown(
            reason::CLUSTER_MISSING,
            format!("VectorCluster {name} does not exist: create it, or delete the link"),
        ),
        ObservedLink::ClusterRefused => unknown(
            reason::CLUSTER_MISSING,
            format!("the spec of VectorCluster {name} is refused: its condition Accepted says why"),
        ),
        ObservedLink::Refused(refusal) => {
            let mut findings = unknown(reason::INVALID_SPEC, refusal.to_string());
            findings.push(Finding(c::ACCEPTED, Some(false), reason::INVALID_SPEC, refusal.to_string()));
            findings
        }
        ObservedLink::Valid { link, cluster, .. } if link.is_superseded(cluster) => {
            let message = format!("an older link of {name} follows {} already: delete one of the two", link.source);
            let mut findings = unknown(reason::INVALID_SPEC, message.clone());
            findings.push(Finding(c::ACCEPTED, Some(false), reason::INVALID_SPEC, message));
            findings
        }
        ObservedLink::Valid { link, apis, .. } if needs_strimzi(link) && !apis.strimzi => {
            let mut findings = unknown(reason::STRIMZI_MISSING, NO_STRIMZI.into());
            findings.push(accepted);
            findings
        }
        ObservedLink::Valid { link, .. } if !link.running => {
            let mut findings = unknown(reason::PAUSED, "spec.state is Paused".into());
            findings.push(accepted);
            findings
        }
        ObservedLink::Valid { heard: None, .. } => {
            let mut findings = unknown(reason::AWAITING_REPORT, "waiting for the first report of a pod".into());
            findings.push(accepted);
            findings
        }
        ObservedLink::Valid { link, heard: Some((connected, within)), .. } => {
            let (why, message) = match (*connected, *within) {
                (true, true) => (reason::FOLLOWING, format!("the link follows {}", link.source)),
                (true, false) => {
                    (reason::FOLLOWING, format!("the link follows {} and is waiting to catch up", link.source))
                }
                (false, _) => {
                    let advice = "check its pods, its endpoint and the network";
                    (reason::SOURCE_SILENT, format!("waiting for {}: {advice}", link.source))
                }
            };
            let bound = if *connected && !*within { reason::BOUND_EXCEEDED } else { why };
            vec![
                accepted,
                Finding(c::CONNECTED, Some(*connected), why, message.clone()),
                Finding(c::WITHIN_BOUND, Some(*within), bound, message.clone()),
                Finding(c::READY, Some(*connected), why, message),
            ]
        }
    };
    let strimzi_missing =
        matches!(seen, ObservedLink::Valid { link, apis, .. } if needs_strimzi(link) && !apis.strimzi);
    findings.push(if strimzi_missing {
        Finding(c::DEPENDENCIES_READY, Some(false), reason::STRIMZI_MISSING, NO_STRIMZI.into())
    } else {
        Finding(c::DEPENDENCIES_READY, Some(true), reason::AS_EXPECTED, DEPENDENCIES_EXIST.into())
    });
    findings.push(match seen {
        ObservedLink::Valid { poisons, .. } if !poisons.is_empty() => {
            Finding(c::DEGRADED, Some(true), reason::POISON_RECORD, cut(&poisons.join("; ")))
        }
        _ => Finding(c::DEGRADED, Some(false), reason::AS_EXPECTED, "every record was applied".into()),
    });
    let conditions = merged(&old.conditions, findings, generation, now);
    ReplicationLinkStatus { observed_generation: Some(generation), conditions }
}

/// Limits a condition's message to 1,000 characters.
fn cut(text: &str) -> String {
    text.chars().take(1_000).collect()
}

fn needs_strimzi(link: &ValidLink) -> bool {
    link.mirror.as_ref().is_some_and(|mirror| mirror.mode == MirrorMaker2Mode::Strimzi)
}

fn ready_pods(seen: &crate::ObservedShard) -> usize {
    let ready = |pod: &&crate::ObservedPod| match &pod.answer {
        Some(PodStatus::Running(status)) => status.ready && !status.draining && !pod.deleting,
        _ => false,
    };
    seen.pods.values().filter(ready).count()
}

/// The first dependency of the spec that does not exist.
fn missing(cluster: &ValidCluster, observed: &Observed) -> Option<(Reason, String)> {
    let secret = |name: &str, key: &str| {
        Some((reason::SECRET_MISSING, format!("Secret {name} does not exist or lacks the key {key}")))
    };
    if let Some(key) = cluster.api_key.as_ref().filter(|key| !key.secret_is_ours && !observed.secrets.api_key) {
        return secret(&key.secret, "api-key");
    }
    if let Some(group) = cluster.group.as_ref().filter(|group| !group.secret_is_ours && !observed.secrets.group_key) {
        return secret(&group.secret, "group-key").map(|(why, message)| {
            // A key generated here would differ from that of the other regions, which would refuse this region.
            let advice = "copy it from another region of the group, or put one new key into all of them: the operator makes \
                          none, and pods that run keep the former key until they restart";
            (why, format!("{message}: {advice}"))
        });
    }
    (cluster.istio.is_some() && !observed.apis.istio).then(|| (reason::ISTIO_MISSING, NO_ISTIO.into()))
}

/// Seconds of refused calls to all pods after which certificates count as lost: a kubelet updates mounted Secrets
/// within minutes.
const LOST_AFTER_S: i64 = 900;

/// `CertificatesLost`: no running pod accepts a certificate of the operator. It is unknown for the first minutes.
fn certificates_lost(observed: &Observed, old: &VectorClusterStatus, now: &Time) -> Finding {
    let pods = || observed.shards.values().flat_map(|seen| seen.pods.values());
    let found = |holds, why, message: &str| Finding(c::CERTIFICATES_LOST, holds, why, message.into());
    if pods().any(|pod| pod.answer.is_some()) || !pods().any(|pod| pod.ready) {
        return found(Some(false), reason::PODS_REACHABLE, "running pods answer the operator");
    }
    let before = old.condition(c::CERTIFICATES_LOST);
    let since = before.filter(|condition| condition.status != "False").map(|condition| &condition.last_transition_time);
    let is_lost = before.is_some_and(|condition| condition.status == "True")
        || since.is_some_and(|since| now.0.as_second() - since.0.as_second() >= LOST_AFTER_S);
    if is_lost {
        let message = "pods that are ready have not answered the operator for 15 minutes: if their logs speak of \
                       certificates, delete all pods of the cluster, one shard after the other";
        return found(Some(true), reason::PODS_UNREACHABLE, message);
    }
    found(None, reason::PODS_UNREACHABLE, "pods that are ready do not answer the operator")
}

/// `TrafficConfigured`: the routes of the mesh; `None` for a cluster without routes.
fn traffic(cluster: &ValidCluster, observed: &Observed) -> Option<Finding> {
    let istio = cluster.istio.as_ref()?;
    let finding = |holds, why, message| Finding(c::TRAFFIC_CONFIGURED, Some(holds), why, message);
    Some(match withheld(cluster) {
        _ if !observed.apis.istio => finding(false, reason::ISTIO_MISSING, NO_ISTIO.into()),
        Some(message) => finding(false, reason::HOST_NOT_ALLOWED, message),
        None => finding(true, reason::AS_EXPECTED, format!("{} are routed", istio.hosts.join(", "))),
    })
}

/// Hosts of the spec without a route, and the change that allows them.
pub(crate) fn withheld(cluster: &ValidCluster) -> Option<String> {
    let withheld = &cluster.istio.as_ref()?.withheld;
    let describe: Vec<String> = withheld.iter().map(|(host, why)| format!("{host} ({why})")).collect();
    (!describe.is_empty()).then(|| {
        cut(&format!("hosts without a route: {}; add them to the operator's allowedHosts", describe.join(", ")))
    })
}

/// Reason and message of the most severe cause for which the cluster is not ready.
fn summary(
    step: &Step,
    leaderless: &[String],
    ready: usize,
    wanted: usize,
    missing: Option<&(Reason, String)>,
    blocked: &[Blocked],
) -> (Reason, String) {
    if let Some(object) = blocked.iter().find(|object| object.cause == Cause::Leaving) {
        let message = format!("waiting for the old {} {} to be deleted", object.object.kind, object.object.name);
        return (reason::CREATING, message);
    }
    if let Some(operation) = step.operations.first() {
        return (reason_of(operation), describe(operation));
    }
    if let Some((why, message)) = missing {
        return (*why, message.clone());
    }
    if !leaderless.is_empty() {
        return (reason::QUORUM_LOST, format!("no quorum in {}", leaderless.join(", ")));
    }
    let message = format!("{ready} of {wanted} replicas are ready");
    (if ready < wanted { reason::WAITING_FOR_PODS } else { reason::CREATING }, message)
}

/// The reason for which a cluster is not ready during `operation`.
fn reason_of(operation: &Operation) -> Reason {
    let reasons = [
        (operation::CREATE, reason::CREATING),
        (operation::SCALE_OUT, reason::SCALING_OUT),
        (operation::SCALE_IN, reason::SCALING_IN),
        (operation::REPLACE_REPLICA, reason::REPLACING_REPLICA),
        (operation::ROLLING_UPDATE, reason::ROLLING_UPDATE),
        (operation::START_POD, reason::WAITING_FOR_PODS),
        (operation::ELECT_LEADER, reason::QUORUM_LOST),
        (operation::UPDATE_LINKS, reason::UPDATING_LINKS),
    ];
    let found = reasons.into_iter().find(|(type_, _)| *type_ == *operation.type_);
    found.map_or(reason::WAITING_FOR_PODS, |(_, why)| why)
}

fn describe(operation: &Operation) -> String {
    let Operation { type_, target, blocked_by } = operation;
    match blocked_by {
        Some(blocked) => format!("{type_} {target}: waiting for {}: {}", blocked.predicate, blocked.message),
        None => format!("{type_} {target}"),
    }
}

/// Conditions sorted by type; the transition time changes only with the status.
fn merged(
    old: &[Condition],
    findings: impl IntoIterator<Item = Finding>,
    generation: i64,
    now: &Time,
) -> Vec<Condition> {
    let mut conditions = old.to_vec();
    for Finding(type_, holds, why, message) in findings {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = conditions.iter().position(|condition| type_ == *condition.type_).map(|at| conditions.remove(at));
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time);
        conditions.push(Condition {
            type_: type_.to_string(),
            status: status.into(),
            reason: why.to_string(),
            message,
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or_else(|| now.clone()),
        });
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

#[cfg(test)]
mod tests;
