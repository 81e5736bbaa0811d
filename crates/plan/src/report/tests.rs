use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meridian_crd::VectorClusterStatus;
use meridian_crd::conditions::reason;
use meridian_proto::topology::{DiskLevel, PodStatus, ReplicaStatus};

use super::{ObservedLink, Outcome, cluster, link, refused};
use crate::fixtures::{self, ALONE, GROUPED, MIRRORED, valid};
use crate::ownership::{Blocked, Cause};
use crate::render::ObjectRef;
use crate::{Apis, Observed, Refusal, ValidLink, next_step};

const CHANGED: Outcome<'static> = Outcome { changed: true, blocked: &[], refusal: None };

fn at(seconds: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap())
}

fn state<'a>(status: &'a VectorClusterStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (&condition.status, &condition.reason)
}

#[test]
fn a_cluster_of_which_nothing_is_there_claims_nothing() {
    let valid = valid(ALONE, &[]);
    let observed = Observed::default();
    let status =
        cluster(&valid, &observed, &next_step(&valid, &observed), CHANGED, &VectorClusterStatus::default(), &at(1));
    assert_eq!((status.ready_replicas, status.replicas), (Some(0), Some(6)));
    assert_eq!(state(&status, "Ready"), ("False", "Creating"));
    assert_eq!(state(&status, "Available"), ("False", "QuorumLost"));
    assert_eq!(state(&status, "Accepted"), ("True", "AsExpected"));
}

#[test]
fn the_time_of_a_condition_moves_only_with_its_status() {
    let valid = valid(ALONE, &[]);
    let observed = Observed::default();
    let step = next_step(&valid, &observed);
    let first = cluster(&valid, &observed, &step, CHANGED, &VectorClusterStatus::default(), &at(1));
    assert_eq!(cluster(&valid, &observed, &step, CHANGED, &first, &at(2)), first);
}

#[test]
fn a_secret_that_is_missing_is_named() {
    let valid = valid(GROUPED, &[]);
    let observed = Observed::default();
    let status = cluster(
        &valid,
        &observed,
        &next_step(&valid, &observed),
        Outcome::default(),
        &VectorClusterStatus::default(),
        &at(1),
    );
    assert_eq!(state(&status, "DependenciesReady"), ("False", "SecretMissing"));
}

#[test]
fn a_refused_spec_keeps_the_allocators() {
    let valid = valid(ALONE, &[]);
    let observed = Observed::default();
    let before = cluster(
        &valid,
        &observed,
        &next_step(&valid, &observed),
        Outcome::default(),
        &VectorClusterStatus::default(),
        &at(1),
    );
    let refusal = Refusal { field: "spec.region", fault: "no".into() };
    let after = refused(7, reason::INVALID_SPEC, &refusal, &before, &at(2));
    assert_eq!((&after.shards, after.observed_generation), (&before.shards, Some(7)));
    assert_eq!(state(&after, "Ready"), ("False", "InvalidSpec"));
}

fn blocked(kind: &str, cause: Cause, message: &str) -> Blocked {
    let object = ObjectRef { api_version: "v1".into(), kind: kind.into(), name: "vector-search".into() };
    Blocked { object, cause, message: message.into() }
}

#[test]
fn foreign_objects_and_the_api_servers_messages_are_in_the_condition() {
    let valid = valid(ALONE, &[]);
    let observed = Observed::default();
    let step = next_step(&valid, &observed);
    let describe = |blocked: &[Blocked]| {
        let outcome = Outcome { blocked, ..Outcome::default() };
        let status = cluster(&valid, &observed, &step, outcome, &VectorClusterStatus::default(), &at(1));
        assert_eq!(state(&status, "Ready").0, "False");
        let progressing = status.conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap();
        (progressing.status.clone(), progressing.reason.clone(), progressing.message.clone())
    };
    let rejected = blocked("StatefulSet", Cause::Rejected, "cpu: must be a quantity");
    let conflict = blocked("Service", Cause::NameConflict, "held by somebody else");
    let secret = blocked("Secret", Cause::NameConflict, "held by Deployment shop");
    let (status, reason, message) = describe(std::slice::from_ref(&rejected));
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ObjectRejected"));
    assert_eq!(message, "StatefulSet vector-search: cpu: must be a quantity");
    let (status, reason, message) = describe(&[rejected, conflict, secret]);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NameConflict"));
    let both = "Service vector-search: held by somebody else; Secret vector-search: held by Deployment shop";
    assert_eq!(message, both);
    let (status, reason, _) = describe(&[blocked("Service", Cause::Leaving, "")]);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Creating"));
}

#[test]
fn a_refused_edit_is_reported_while_turns_continue() {
    let valid = valid(ALONE, &[]);
    let observed = Observed::default();
    let refusal = Refusal { field: "spec.region", fault: "no".into() };
    let outcome = Outcome { refusal: Some(&refusal), ..Outcome::default() };
    let status =
        cluster(&valid, &observed, &next_step(&valid, &observed), outcome, &VectorClusterStatus::default(), &at(1));
    assert_eq!(state(&status, "Accepted"), ("False", "InvalidSpec"));
    assert_eq!(state(&status, "Ready"), ("False", "InvalidSpec"));
    assert_eq!(state(&status, "Progressing"), ("True", "Creating"));
}

#[test]
fn the_status_of_a_link_names_the_awaited_condition() {
    let resource = fixtures::link(MIRRORED);
    let cluster = valid(GROUPED, &[MIRRORED]);
    let parsed = ValidLink::parse(&resource, &cluster).unwrap();
    let describe = |strimzi, heard, poisons| ObservedLink::Valid {
        link: &parsed,
        cluster: &cluster,
        apis: Apis { istio: false, strimzi },
        heard,
        poisons,
    };
    let seen = |strimzi, heard| describe(strimzi, heard, Vec::new());
    let ready = |seen: &ObservedLink<'_>| {
        let status = link(&resource, seen, &at(1));
        status.conditions.into_iter().find(|c| c.type_ == "Ready").map(|c| (c.status, c.reason)).unwrap()
    };
    let said = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(ready(&ObservedLink::NoCluster), said("False", "ClusterMissing"));
    assert_eq!(ready(&seen(false, None)), said("False", "StrimziMissing"));
    assert_eq!(ready(&seen(true, None)), said("False", "AwaitingReport"));
    assert_eq!(ready(&seen(true, Some((false, false)))), said("False", "SourceSilent"));
    assert_eq!(ready(&seen(true, Some((true, true)))), said("True", "Following"));
    let degraded = |poisons| {
        let status = link(&resource, &describe(true, Some((true, true)), poisons), &at(1));
        status.conditions.into_iter().find(|c| c.type_ == "Degraded").map(|c| (c.status, c.reason, c.message)).unwrap()
    };
    let none = ("False".into(), "AsExpected".into(), "every record was applied".into());
    assert_eq!(degraded(Vec::new()), none);
    let faults = vec!["topic t, partition 0, offset 7, sequence 9: bad".to_owned(), "another".to_owned()];
    let (status, reason, message) = degraded(faults);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "PoisonRecord"));
    assert_eq!(message, "topic t, partition 0, offset 7, sequence 9: bad; another");
}

#[test]
fn a_host_that_is_not_allowed_is_named_and_no_other_condition_ends() {
    let traffic = |yaml: &str, istio| {
        let valid = valid(yaml, &[]);
        let observed = Observed { apis: Apis { istio, strimzi: false }, ..Observed::default() };
        let step = next_step(&valid, &observed);
        let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "TrafficConfigured");
        condition.map(|condition| (condition.status, condition.reason, condition.message))
    };
    assert_eq!(traffic(ALONE, true), None);
    let (status, reason, _) = traffic(GROUPED, true).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "AsExpected"));
    let (status, reason, _) = traffic(GROUPED, false).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "IstioMissing"));
    let (status, reason, message) =
        traffic(&GROUPED.replace("hosts: [search", "hosts: [payments, search"), true).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "HostNotAllowed"));
    assert!(
        message.contains("payments (it is a single label)") && !message.contains("search.example.com"),
        "{message}"
    );
}

#[test]
fn certificates_count_as_lost_when_ready_pods_are_silent_for_a_quarter_of_an_hour() {
    let valid = valid(ALONE, &[]);
    let pod = |answer| crate::ObservedPod { answer, ..ready_pod() };
    let observed = |answer| {
        let shard = crate::ObservedShard { pods: [(0, pod(answer))].into(), ..crate::ObservedShard::default() };
        Observed { shards: [(meridian_model::ShardNumber::FIRST, shard)].into(), ..Observed::default() }
    };
    let (silent, heard) = (observed(None), observed(Some(meridian_proto::topology::PodStatus::Blank)));
    let mut status = VectorClusterStatus::default();
    let mut turn = |observed: &Observed, seconds| {
        status = cluster(&valid, observed, &next_step(&valid, observed), Outcome::default(), &status, &at(seconds));
        state(&status, "CertificatesLost").0.to_owned()
    };
    assert_eq!(turn(&heard, 0), "False");
    assert_eq!(turn(&silent, 100), "Unknown");
    assert_eq!(turn(&silent, 999), "Unknown");
    assert_eq!(turn(&silent, 1_000), "True");
    assert_eq!(turn(&silent, 1_001), "True");
    assert_eq!(turn(&heard, 1_002), "False");
    assert_eq!(turn(&silent, 1_003), "Unknown");
}

/// A region with links applies no deletes while its disks are full.
#[test]
fn full_disks_are_reported_with_a_remedy() {
    let risk = |yaml: &str, links: &[&str], levels: [DiskLevel; 3]| {
        let valid = valid(yaml, links);
        let pods = (0..).zip(levels).map(|(ordinal, disk)| (ordinal, pod_with(&valid, disk))).collect();
        let shard = crate::ObservedShard { pods, ..crate::ObservedShard::default() };
        let observed = Observed { shards: [(meridian_model::ShardNumber::FIRST, shard)].into(), ..Observed::default() };
        let step = next_step(&valid, &Observed::default());
        let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "CapacityRisk").unwrap();
        (condition.status, condition.reason, condition.message)
    };
    use DiskLevel::{Exhausted, Free, Reserve};
    assert_eq!(risk(ALONE, &[], [Free; 3]).0, "False");
    let (status, reason, message) = risk(ALONE, &[], [Free, Reserve, Exhausted]);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "DiskFull"));
    let pods = "full disks of vector-search-s1-1, vector-search-s1-2";
    assert_eq!(
        message,
        format!("{pods} (reserve used up): waiting for deletes, dropped collections or larger volumes")
    );
    let message = risk(GROUPED, &[MIRRORED], [Free, Reserve, Reserve]).2;
    let only = "larger volumes; deletes in us-east free nothing here while disks are full";
    assert_eq!(message, format!("{pods}: waiting for {only}"));
}

fn pod_with(cluster: &crate::ValidCluster, disk: DiskLevel) -> crate::ObservedPod {
    let genesis = cluster.genesis(meridian_model::ShardNumber::FIRST);
    let status = ReplicaStatus { disk, ..fixtures::running(genesis) };
    let answer = Some(PodStatus::Running(Box::new(status)));
    crate::ObservedPod { answer, ..ready_pod() }
}

fn ready_pod() -> crate::ObservedPod {
    crate::ObservedPod { uid: "u".into(), ready: true, ..crate::ObservedPod::default() }
}

#[test]
fn a_foreign_volume_is_reported_with_the_annotation_that_adopts_it() {
    let valid = valid(ALONE, &[]);
    let mut genesis = valid.genesis(meridian_model::ShardNumber::FIRST);
    genesis.cluster = meridian_model::ClusterId(7);
    let identity = meridian_proto::topology::Identity {
        genesis,
        replica: meridian_model::ReplicaId(1),
        founders: Vec::new(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    };
    let pod = crate::ObservedPod {
        uid: "u".into(),
        deleting: false,
        ready: false,
        outdated: false,
        answer: Some(meridian_proto::topology::PodStatus::Foreign { identity }),
        keys: None,
        failure_reason: None,
        ..crate::ObservedPod::default()
    };
    let shard = crate::ObservedShard { pods: [(0, pod)].into(), ..crate::ObservedShard::default() };
    let observed = Observed { shards: [(meridian_model::ShardNumber::FIRST, shard)].into(), ..Observed::default() };
    let step = next_step(&valid, &observed);
    let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
    assert_eq!(state(&status, "Degraded"), ("True", "ForeignVolume"));
    assert_eq!(state(&status, "Ready"), ("False", "ForeignVolume"));
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    let annotation = format!("meridiandb.io/adopt: {}", meridian_model::ClusterId(7));
    assert!(ready.message.contains("vector-search-s1-0") && ready.message.contains(&annotation), "{}", ready.message);
}

#[test]
fn a_pod_with_data_of_a_newer_release_is_reported_with_its_reason() {
    let valid = valid(ALONE, &[]);
    let reason =
        "log record 7: written by a newer release: format version 5, this build reads up to 4; run the newer release";
    let genesis = valid.genesis(meridian_model::ShardNumber::FIRST);
    let fault = Some("VersionUnknown: log entry 9: behavior version 2, this build knows up to 1".to_owned());
    let stopped = ReplicaStatus { fault: fault.clone(), ..fixtures::running(genesis) };
    for (answer, words) in [
        (PodStatus::Newer { reason: reason.into() }, reason),
        (PodStatus::Running(Box::new(stopped)), fault.as_deref().unwrap()),
    ] {
        let pod = crate::ObservedPod {
            uid: "u".into(),
            deleting: false,
            ready: false,
            outdated: false,
            answer: Some(answer),
            keys: None,
            failure_reason: None,
            ..crate::ObservedPod::default()
        };
        let shard = crate::ObservedShard { pods: [(0, pod)].into(), ..crate::ObservedShard::default() };
        let observed = Observed { shards: [(meridian_model::ShardNumber::FIRST, shard)].into(), ..Observed::default() };
        let step = next_step(&valid, &observed);
        assert_eq!(step.act, None, "neither lost nor blank");
        let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
        assert_eq!(state(&status, "Degraded"), ("True", "VersionUnknown"));
        assert_eq!(state(&status, "Ready"), ("False", "VersionUnknown"));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.message, format!("vector-search-s1-0: {words}"));
    }
}

#[test]
fn a_lost_group_key_is_reported_with_a_remedy() {
    let valid = valid(GROUPED, &[]);
    let secrets = crate::Secrets { api_key: true, group_key: false };
    let observed = Observed { secrets, ..Observed::default() };
    let step = next_step(&valid, &observed);
    let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
    let missing = status.conditions.iter().find(|condition| condition.type_ == "DependenciesReady").unwrap();
    assert_eq!((missing.status.as_str(), missing.reason.as_str()), ("False", "SecretMissing"));
    assert!(missing.message.contains("copy it from another region"), "{}", missing.message);
}

#[test]
fn replicas_without_capacity_are_reported_with_a_remedy() {
    use meridian_model::ShardNumber;
    use meridian_proto::topology::{DiskLevel, MemorySeen, PodStatus, ReplicaStatus};

    let valid = valid(ALONE, &[]);
    let describe = |replicas: &[(DiskLevel, Option<(u64, bool)>)]| {
        let pod = |(disk, memory): &(DiskLevel, Option<(u64, bool)>)| {
            let memory =
                memory.map(|(used, is_short)| MemorySeen { used_bytes: used << 20, limit_bytes: 4 << 30, is_short });
            let status = ReplicaStatus { disk: *disk, memory, ..fixtures::running(valid.genesis(ShardNumber::FIRST)) };
            crate::ObservedPod {
                uid: "u".into(),
                deleting: false,
                ready: true,
                outdated: false,
                answer: Some(PodStatus::Running(Box::new(status))),
                keys: None,
                failure_reason: None,
                ..crate::ObservedPod::default()
            }
        };
        let pods = (0..).zip(replicas.iter().map(pod)).collect();
        let shard = crate::ObservedShard { pods, ..crate::ObservedShard::default() };
        let observed = Observed { shards: [(ShardNumber::FIRST, shard)].into(), ..Observed::default() };
        let step = next_step(&valid, &observed);
        let status = cluster(&valid, &observed, &step, Outcome::default(), &VectorClusterStatus::default(), &at(1));
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "CapacityRisk").unwrap();
        (condition.status, condition.reason, condition.message)
    };
    let check = |replicas: &[_], status: &str, reason: &str, message: &str| {
        assert_eq!(describe(replicas), (status.to_owned(), reason.to_owned(), message.to_owned()));
    };
    let well = (DiskLevel::Free, Some((100, false)));
    check(&[], "Unknown", "AwaitingReport", "waiting for the first report of a pod");
    let left = "every replica that reports has disk and memory left";
    check(&[well, (DiskLevel::Free, None)], "False", "SufficientCapacity", left);
    let memory = "a snapshot does not fit into the memory of vector-search-s1-1 (3500 of 4096 MiB used): \
                  raise spec.resources.limits.memory or drop a collection";
    check(&[well, (DiskLevel::Free, Some((3500, true)))], "True", "InsufficientMemory", memory);
    let disk = "full disks of vector-search-s1-0, vector-search-s1-1 (reserve used up): \
                waiting for deletes, dropped collections or larger volumes";
    check(&[(DiskLevel::Reserve, None), (DiskLevel::Exhausted, None), well], "True", "DiskFull", disk);
    let (status, reason, message) = describe(&[(DiskLevel::Reserve, Some((3500, true)))]);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "InsufficientMemory"));
    assert!(message.contains("snapshot does not fit") && message.contains("full disks of"), "{message}");
}
