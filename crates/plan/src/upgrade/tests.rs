//! The table of the module, row by row, and the memory of images.

use std::collections::BTreeMap;

use meridian_crd::ImageStatus;
use meridian_model::{ReplicaId, Term};
use meridian_proto::topology::{FollowerStatus, Member, PodStatus, ReplicaStatus, Role};

use super::*;
use crate::fixtures::{ALONE, running, valid};
use crate::{ObservedPod, ObservedStatefulSet};

const DAY_S: i64 = 24 * 60 * 60;

fn at(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap())
}

/// Two shards of three replicas, led by the first pod.
struct Case {
    cluster: ValidCluster,
    behavior: [u16; 2],
    known: [Option<u16>; 6],
    image: &'static str,
    seen: ObservedUpgrade,
    other: OtherWork,
}

impl Case {
    /// At version 1, all pods know 2 since the beginning.
    fn new() -> Self {
        let before = UpgradeStatus { known_version: Some(2), known_since: Some(at(0)), ..UpgradeStatus::default() };
        let seen = ObservedUpgrade { before, newest: BehaviorVersion(2), now: at(10), ..ObservedUpgrade::default() };
        let cluster = ValidCluster { image: "node:2".into(), ..valid(ALONE, &[]) };
        Self { cluster, behavior: [1, 1], known: [Some(2); 6], image: "node:2", seen, other: OtherWork::default() }
    }

    fn shard(&self, number: ShardNumber) -> ObservedShard {
        let nth = usize::from(number.number()) - 1;
        let member = |ordinal: u16| Member {
            replica: ReplicaId(u64::from(ordinal) + 1),
            address: self.cluster.peer_address(number, ordinal),
        };
        let pod = |ordinal: u16| {
            let mut status = running(self.cluster.genesis(number));
            status.identity.replica = member(ordinal).replica;
            let leads = ordinal == 0;
            let status = ReplicaStatus {
                role: if leads { Role::Leader } else { Role::Follower },
                term: Term(1),
                leader: Some(ReplicaId(1)),
                voters: (0..3).map(member).collect(),
                followers: (2..4)
                    .map(|id| FollowerStatus { replica: ReplicaId(id), matched: Default::default(), active: true })
                    .collect(),
                behavior: BehaviorVersion(self.behavior[nth]),
                ..status
            };
            let known = self.known[3 * nth + usize::from(ordinal)].map(BehaviorVersion);
            ObservedPod {
                answer: known.map(|_| PodStatus::Running(Box::new(status))),
                known,
                image: Some(self.image.into()),
                ..ObservedPod::default()
            }
        };
        let stateful_set = Some(ObservedStatefulSet { replicas: 3, settled: true, deleting: false });
        ObservedShard {
            stateful_set,
            pods: (0..3).map(|ordinal| (ordinal, pod(ordinal))).collect(),
            ..ObservedShard::default()
        }
    }

    fn step(&self) -> UpgradeStep {
        let shards: BTreeMap<_, _> = ShardNumber::all(2).map(|number| (number, self.shard(number))).collect();
        let shards: BTreeMap<_, _> = shards.iter().map(|(number, seen)| (*number, seen)).collect();
        let mut seen = self.seen.clone();
        let refused_image = images(&self.cluster, &shards, &mut seen.before);
        let step = next_upgrade_step(&self.cluster, &shards, &Rules::of(&self.cluster), &seen, &self.other);
        UpgradeStep { refused_image, ..step }
    }
}

/// Reason, message and act.
fn check(case: &Case) -> (&'static str, String, Option<&'static str>) {
    let step = case.step();
    (step.finalized.reason.as_str(), step.finalized.message, step.act.map(|act| act.name()))
}

#[test]
fn without_a_report_nothing_is_claimed() {
    let case = Case { known: [None; 6], seen: ObservedUpgrade::default(), ..Case::new() };
    assert_eq!(case.step(), UpgradeStep::none());
    // One shard without a leader is enough.
    let case = Case { known: [Some(2), Some(2), Some(2), None, None, Some(2)], ..Case::new() };
    let step = case.step();
    assert_eq!((step.finalized.holds, step.act), (None, None));
}

#[test]
fn one_pod_that_knows_less_or_is_silent_is_named() {
    for (known, says) in [(Some(1), "pod vector-search-s2-1 knows 1"), (None, "pod vector-search-s2-1 does not answer")]
    {
        let mut case = Case::new();
        case.known[4] = known;
        case.seen.now = at(2 * DAY_S);
        case.seen.requested = Request::Finalize(BehaviorVersion(2));
        let (reason, message, act) = check(&case);
        assert_eq!((reason, act), ("RollingOut", None));
        assert!(message.ends_with(says), "{message}");
    }
}

#[test]
fn the_soak_begins_when_all_pods_know_the_version_and_survives_a_silent_pod() {
    let mut case = Case::new();
    case.seen.before = UpgradeStatus::default();
    let since = |case: &Case| case.step().status.known_since;
    assert_eq!(since(&case), Some(at(10)));
    case.seen.before = case.step().status;
    case.seen.now = at(20);
    assert_eq!(since(&case), Some(at(10)));
    case.known[5] = None;
    assert_eq!(since(&case), Some(at(10)), "a silent pod was taken for one of another release");
    case.known[5] = Some(1);
    assert_eq!(since(&case), None);
    case.seen.before = case.step().status;
    case.known[5] = Some(2);
    assert_eq!(since(&case), Some(at(20)));
    // One that was silent from the beginning has not known it before it says so.
    let mut case = Case::new();
    case.seen.before = UpgradeStatus::default();
    case.known[5] = None;
    assert_eq!(since(&case), None);
}

#[test]
fn the_soak_ends_at_its_time_and_not_before() {
    let mut case = Case::new();
    case.seen.now = at(DAY_S - 1);
    let (reason, message, act) = check(&case);
    assert_eq!((reason, act), ("Soaking", None));
    assert!(message.contains("after 1970-01-02T00:00:00Z"), "{message}");
    let operation = case.step().operations[0].clone();
    assert_eq!(
        (operation.type_.as_str(), operation.blocked_by.unwrap().predicate.as_str()),
        ("Finalize", "SoakElapsed")
    );
    case.seen.now = at(DAY_S);
    let step = case.step();
    let act = Act::Finalize { shard: ShardNumber::FIRST, leader: 0, version: BehaviorVersion(2) };
    assert_eq!((step.act, step.status.proposed_version), (Some(act), Some(2)));
}

#[test]
fn the_second_shard_follows_when_the_first_is_done() {
    let mut case = Case { behavior: [2, 1], ..Case::new() };
    case.seen.now = at(DAY_S);
    let step = case.step();
    assert!(matches!(step.act, Some(Act::Finalize { shard, .. }) if shard.number() == 2), "{step:?}");
    assert_eq!(step.finalized.message, "behavior version 2 is finalized in 1 of 2 shards");
    assert_eq!(step.status.behavior_version, Some(1));
}

#[test]
fn other_work_goes_first() {
    let mut case = Case::new();
    case.seen.now = at(DAY_S);
    case.other = OtherWork { acts: false, under_way: Some("RollingUpdate vector-search-s1-0".into()) };
    let (reason, message, act) = check(&case);
    assert_eq!((reason, act), ("Finalizing", None));
    assert!(message.contains("RollingUpdate vector-search-s1-0"), "{message}");
    case.other = OtherWork { acts: true, under_way: None };
    let step = case.step();
    assert_eq!((step.act, step.status.proposed_version), (None, None));
    // A publication waits for acts only.
    let case = Case { behavior: [2, 2], other: OtherWork { acts: false, under_way: Some("x".into()) }, ..Case::new() };
    assert_eq!(check(&case).2, Some("Publish"));
}

#[test]
fn an_older_operator_finalizes_what_it_knows() {
    let mut case = Case { known: [Some(3); 6], ..Case::new() };
    case.seen.before.known_version = Some(2);
    case.seen.now = at(DAY_S);
    assert!(matches!(case.step().act, Some(Act::Finalize { version: BehaviorVersion(2), .. })));
    let case = Case { known: [Some(3); 6], behavior: [2, 2], ..Case::new() };
    assert!(check(&case).1.contains("newer release of the operator"), "{:?}", check(&case));
}

#[test]
fn a_request_that_is_no_version_is_told() {
    let mut case = Case::new();
    case.seen.requested = Request::parse(Some("two"));
    let (reason, message, act) = check(&case);
    assert_eq!((reason, act), ("Soaking", None));
    assert!(
        message.ends_with("the annotation meridiandb.io/finalize must be a behavior version (got \"two\")"),
        "{message}"
    );
    for (text, request) in [("0", Request::Invalid("0".into())), ("2", Request::Finalize(BehaviorVersion(2)))] {
        assert_eq!(Request::parse(Some(text)), request);
    }
    assert_eq!(Request::parse(None), Request::None);
}

#[test]
fn a_request_for_a_version_that_is_finalized_or_unknown_has_no_effect() {
    for requested in [1, 3] {
        let mut case = Case::new();
        case.seen.requested = Request::Finalize(BehaviorVersion(requested));
        assert_eq!((check(&case).0, check(&case).2), ("Soaking", None), "{requested}");
    }
}

#[test]
fn the_last_images_are_kept_and_those_in_use_never_go() {
    let mut case = Case { behavior: [2, 2], ..Case::new() };
    let noted = |image: &str| ImageStatus { image: image.into(), known_version: 2 };
    case.seen.before.accepted_image = Some("accepted".into());
    case.seen.before.images = ["accepted", "a", "b", "c", "d", "e", "f", "g"].map(noted).into();
    (case.cluster.image, case.image) = ("unseen".into(), "node:2");
    let step = case.step();
    let kept: Vec<&str> = step.status.images.iter().map(|noted| noted.image.as_str()).collect();
    assert_eq!(kept, ["accepted", "b", "c", "d", "e", "f", "g", "node:2"]);
    assert_eq!((step.status.accepted_image.as_deref(), step.refused_image), (Some("accepted"), None));
}

#[test]
fn an_image_is_judged_by_its_newest_report() {
    // A pod that started before the tag was moved still runs the earlier release.
    let mut case = Case { behavior: [2, 1], ..Case::new() };
    case.known[5] = Some(1);
    assert_eq!(case.step().refused_image, None);
    assert_eq!(case.step().status.images, [ImageStatus { image: "node:2".into(), known_version: 2 }]);
}

#[test]
fn without_another_image_the_refused_one_stays() {
    let case = Case { behavior: [2, 2], known: [Some(1); 6], ..Case::new() };
    let refused = case.step().refused_image.expect("it knows too little");
    assert_eq!(refused.accepted, None);
    assert!(refused.to_string().ends_with("shards use 2: set spec.image to a release that knows 2"), "{refused}");
}
