//! A region through releases: rolled, finalized, rolled back, with an image that knows too little.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use meridian_crd::conditions::reason;
use meridian_model::{BehaviorVersion, PlayedRelease, RegionName};
use meridian_proto::topology::RegionBehavior;
use proptest::prelude::*;

use super::region::{Fault, Region};
use super::{TURNS, cluster, names, settle, shard};
use crate::fixtures::{GROUPED, valid};
use crate::step::{Act, Step, next_step};
use crate::upgrade::Request;
use crate::{RefusedAct, ValidCluster};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn image(number: u16) -> String {
    format!("node:{number}")
}

/// A region at rest at behavior version 1, whose pods run image `node:1`; `node:n` knows version n, and so does the operator.
fn at_first(cluster: &mut ValidCluster) -> Region {
    cluster.image = image(1);
    cluster.finalize_after = Some(Duration::from_secs(24 * 3600));
    let mut region = Region::default();
    region.releases = (1..=3).map(|number| (image(number), number)).collect();
    settle(cluster, &mut region);
    region.upgrade.newest = BehaviorVersion(3);
    region
}

fn pass(region: &mut Region, time: SignedDuration) {
    region.upgrade.now = Time(region.upgrade.now.0 + time);
}

fn step(cluster: &ValidCluster, region: &Region) -> Step {
    next_step(cluster, &region.observe(cluster))
}

fn reason_of(cluster: &ValidCluster, region: &Region) -> &'static str {
    step(cluster, region).upgrade.finalized.reason.as_str()
}

#[test]
fn a_release_is_rolled_soaks_and_is_finalized_shard_by_shard() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    assert_eq!(reason_of(&cluster, &region), "Finalized");
    cluster.image = image(2);
    region.turn(&cluster, None);
    region.turn(&cluster, None);
    assert_eq!(reason_of(&cluster, &region), "RollingOut");
    settle(&cluster, &mut region);
    assert_eq!(region.behaviors(), [1, 1]);
    pass(&mut region, HOUR * 23);
    assert_eq!((settle(&cluster, &mut region), reason_of(&cluster, &region)), (vec![], "Soaking"));
    pass(&mut region, HOUR * 2);
    assert_eq!(names(&settle(&cluster, &mut region)), ["Finalize", "Finalize", "Publish", "Publish"]);
    assert_eq!((region.behaviors(), region.published()), (vec![2, 2], vec![2, 2]));
    assert_eq!(reason_of(&cluster, &region), "Finalized");
}

#[test]
fn a_release_is_rolled_back_until_it_is_finalized() {
    let mut cluster = cluster(1, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 23);
    cluster.image = image(1);
    settle(&cluster, &mut region);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 23);
    settle(&cluster, &mut region);
    assert_eq!(region.behaviors(), [1], "the soak of before the rollback counted");
    pass(&mut region, HOUR);
    settle(&cluster, &mut region);
    assert_eq!((region.behaviors(), region.stopped()), (vec![2], 0));
}

#[test]
fn a_rollback_in_the_turn_in_which_the_soak_ends_goes_first() {
    let mut cluster = cluster(1, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    cluster.image = image(1);
    settle(&cluster, &mut region);
    assert_eq!((region.behaviors(), region.images().contains(&"node:2")), (vec![1], false));
}

#[test]
fn an_image_that_was_seen_to_know_too_little_is_not_tried_again() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    settle(&cluster, &mut region);
    cluster.image = image(1);
    assert_eq!(settle(&cluster, &mut region), []);
    let refused = step(&cluster, &region).upgrade.refused_image.expect("node:1 is refused");
    assert_eq!((refused.known, refused.needed), (BehaviorVersion(1), BehaviorVersion(2)));
    assert_eq!(refused.accepted.as_deref(), Some("node:2"));
    assert_eq!(
        refused.to_string(),
        "image node:1 knows behavior version 1, and the shards use 2: node:2 stays in use; set spec.image to a release \
         that knows 2"
    );
    cluster.image = image(3);
    settle(&cluster, &mut region);
    assert_eq!((region.images(), region.stopped()), (vec!["node:3"; 6], 0));
}

#[test]
fn an_unknown_image_stops_one_pod_which_gets_the_accepted_one_back() {
    for replicas in [1, 3] {
        let mut cluster = cluster(2, replicas);
        let mut region = at_first(&mut cluster);
        cluster.image = image(2);
        settle(&cluster, &mut region);
        pass(&mut region, HOUR * 25);
        settle(&cluster, &mut region);
        cluster.image = "node:unknown".into(); // knows 1
        let mut acts = Vec::new();
        for _ in 0..TURNS {
            acts.extend(region.turn(&cluster, None));
            assert!(region.stopped() <= 1, "{acts:?}");
        }
        assert_eq!(names(&acts), ["Evict", "Evict"], "there and back");
        assert_eq!(region.images(), vec!["node:2"; 2 * usize::from(replicas)]);
        assert!(step(&cluster, &region).upgrade.refused_image.is_some());
    }
}

#[test]
fn an_unknown_image_is_not_taken_back_at_the_cost_of_the_quorum() {
    let mut cluster = cluster(1, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    settle(&cluster, &mut region);
    cluster.image = "node:unknown".into();
    while region.stopped() == 0 {
        region.turn(&cluster, None);
    }
    region.silence(shard(), if region.images()[0] == "node:unknown" { 1 } else { 0 }, usize::MAX);
    for _ in 0..20 {
        region.turn(&cluster, None); // the region asserts that no eviction takes the quorum
    }
    region.heal();
    settle(&cluster, &mut region);
    assert_eq!(region.images(), ["node:2"; 3]);
}

#[test]
fn a_group_is_bootstrapped_at_the_newest_version_that_its_pods_and_the_operator_know() {
    for (of_operator, of_image, behavior) in [(3, 2, 2), (2, 3, 2), (3, 1, 1)] {
        let _played = PlayedRelease::knowing(BehaviorVersion(of_operator));
        let mut cluster = cluster(1, 3);
        cluster.image = image(of_image);
        let mut region = Region::default();
        region.releases = (1..=3).map(|number| (image(number), number)).collect();
        settle(&cluster, &mut region);
        assert_eq!(region.behaviors(), [behavior]);
    }
}

#[test]
fn never_waits_for_a_request_and_a_request_needs_no_soak() {
    for finalize_after in [None, Some(Duration::from_secs(24 * 3600))] {
        let mut cluster = cluster(2, 3);
        let mut region = at_first(&mut cluster);
        cluster.finalize_after = finalize_after;
        cluster.image = image(2);
        region.upgrade.requested = Request::Finalize(BehaviorVersion(2));
        region.turn(&cluster, None);
        assert_eq!(region.behaviors(), [1, 1], "a request does not go before the roll");
        settle(&cluster, &mut region);
        assert_eq!(region.behaviors(), [2, 2]);
        cluster.image = image(3);
        settle(&cluster, &mut region);
        assert_eq!(region.behaviors(), [2, 2], "the former request has an effect on a later version");
        assert_eq!(reason_of(&cluster, &region), if finalize_after.is_some() { "Soaking" } else { "Held" });
    }
}

fn heard(region: &str, behavior: u16) -> RegionBehavior {
    RegionBehavior { region: RegionName::new(region).unwrap(), behavior: BehaviorVersion(behavior) }
}

#[test]
fn the_primary_region_is_last_and_publication_waits_for_all() {
    let mut cluster = valid(GROUPED, &[]);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    region.upgrade.requested = Request::Finalize(BehaviorVersion(2));
    settle(&cluster, &mut region);
    assert_eq!((region.behaviors(), region.published()), (vec![2], vec![1]), "a secondary region waits for none");
    let described = step(&cluster, &region).upgrade;
    assert_eq!(described.finalized.reason, reason::FINALIZED);
    assert!(described.finalized.message.contains("us-east (not heard of)"), "{:?}", described.finalized);
    region.others = vec![heard("us-east", 2)];
    settle(&cluster, &mut region);
    assert_eq!(region.published(), [2]);

    let mut cluster = valid(GROUPED, &[]);
    let group = cluster.group.as_mut().unwrap();
    group.primary = cluster.region.clone();
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    region.upgrade.requested = Request::Finalize(BehaviorVersion(2));
    for others in [vec![], vec![heard("us-east", 1)], vec![heard("mars", 2)]] {
        region.others = others;
        settle(&cluster, &mut region);
        assert_eq!((region.behaviors(), reason_of(&cluster, &region)), (vec![1], "WaitingForRegions"));
    }
    let waiting = step(&cluster, &region).upgrade.operations[0].clone();
    assert_eq!(waiting.blocked_by.unwrap().predicate, "RegionsFinalized");
    region.others = vec![heard("us-east", 2)];
    assert_eq!(names(&settle(&cluster, &mut region)), ["Finalize", "Publish"]);
    // A region that was removed from the group does not count, one that is added does.
    assert_eq!(region.published(), [2]);
}

#[test]
fn a_removed_region_does_not_count() {
    let mut cluster = valid(GROUPED, &[]);
    let group = cluster.group.as_mut().unwrap();
    (group.primary, group.regions) = (cluster.region.clone(), group.regions.split_off(1));
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    region.upgrade.requested = Request::Finalize(BehaviorVersion(2));
    settle(&cluster, &mut region);
    assert_eq!((region.behaviors(), region.published()), (vec![2], vec![2]));
}

#[test]
fn a_refused_finalization_is_told_waits_and_is_tried_again() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    let act = step(&cluster, &region).act.unwrap();
    assert!(matches!(act, Act::Finalize { .. }), "{act:?}");
    let described = |due| {
        let mut observed = region.observe(&cluster);
        observed.refused = vec![RefusedAct { act: act.clone(), message: "replica 3 knows 1".into(), due }];
        let step = next_step(&cluster, &observed);
        let Step { act, upgrade, operations, .. } = step;
        assert_eq!(operations, [], "a refused finalization keeps the cluster from being ready");
        assert_eq!(upgrade.finalized.reason, reason::FINALIZE_REFUSED);
        assert_eq!(upgrade.finalized.message, "replica 3 knows 1");
        let blocked = upgrade.operations[0].blocked_by.as_ref().unwrap();
        assert_eq!(blocked.predicate, "FinalizeAccepted");
        act
    };
    assert_eq!(described(false), None);
    assert_eq!(described(true), Some(act));
}

#[test]
fn a_half_finalized_region_goes_on_after_the_operator_died_and_never_was_set() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    assert_eq!(region.turn(&cluster, None).as_ref().map(Act::name), Some("Finalize"));
    assert_eq!(region.behaviors(), [2, 1]);
    cluster.finalize_after = None;
    region.upgrade.before.known_since = None;
    settle(&cluster, &mut region);
    assert_eq!(region.behaviors(), [2, 2]);
}

#[test]
fn from_the_first_proposal_on_older_images_are_refused() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    pass(&mut region, HOUR * 25);
    // The intent is written, and the call may or may not have been made.
    assert_eq!(region.turn(&cluster, Some(Fault::CrashBeforeAct)), None);
    assert_eq!(region.behaviors(), [1, 1]);
    cluster.image = image(1);
    assert!(step(&cluster, &region).upgrade.refused_image.is_some());
    settle(&cluster, &mut region);
    assert_eq!((region.behaviors(), region.images()), (vec![2, 2], vec!["node:2"; 6]));
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let fault = prop_oneof![
        4 => (1u16..5).prop_map(Fault::Image),
        2 => (0u16..3, 1usize..6).prop_map(|(ordinal, turns)| Fault::Silence(shard(), ordinal, turns)),
        1 => Just(Fault::CrashBeforeAct),
        1 => Just(Fault::LoseVolume(shard(), 1)),
    ];
    prop::collection::vec((0usize..100, fault), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever images a user sets: at most one pod is ever stopped by a version, and a good image ends it. (The region itself
    /// refuses a version that not all pods know, and an eviction that takes the quorum.)
    #[test]
    fn no_two_pods_are_stopped_by_a_version(faults in faults(), soak in 0u64..8) {
        let mut wanted = cluster(2, 3);
        let mut region = at_first(&mut wanted);
        wanted.finalize_after = Some(Duration::from_secs(soak * 3600));
        for turn in 0..100 {
            let mut crash = None;
            for (_, fault) in faults.iter().filter(|(at, _)| *at == turn) {
                match fault {
                    Fault::Image(number) => wanted.image = image(*number), // `node:4` knows 1
                    Fault::CrashBeforeAct => crash = Some(*fault),
                    fault => region.fault_if_survivable(*fault),
                }
            }
            pass(&mut region, HOUR);
            region.turn(&wanted, crash);
            prop_assert!(region.stopped() <= 1);
        }
        region.heal();
        wanted.image = image(3);
        settle(&wanted, &mut region);
        pass(&mut region, HOUR * 8);
        settle(&wanted, &mut region);
        prop_assert_eq!(region.behaviors(), [3, 3]);
        prop_assert_eq!(region.published(), [3, 3]);
        prop_assert_eq!(region.images(), vec!["node:3"; 6]);
    }
}

#[test]
fn a_version_that_is_not_finalized_keeps_no_cluster_from_being_ready() {
    let mut cluster = cluster(2, 3);
    let mut region = at_first(&mut cluster);
    cluster.image = image(2);
    settle(&cluster, &mut region);
    let report = |region: &Region| {
        let observed = region.observe(&cluster);
        let (step, outcome) = (next_step(&cluster, &observed), crate::report::Outcome::default());
        crate::report::cluster(&cluster, &observed, &step, outcome, &Default::default(), &region.upgrade.now)
    };
    let status = report(&region);
    let state = |type_: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        (condition.status.as_str(), condition.reason.as_str())
    };
    assert_eq!((state("Finalized"), state("Ready")), (("False", "Soaking"), ("True", "AsExpected")));
    assert_eq!(state("Progressing"), ("False", "AsExpected"));
    let predicates: Vec<_> =
        status.operations.iter().map(|it| it.blocked_by.as_ref().unwrap().predicate.as_str()).collect();
    assert_eq!(predicates, ["SoakElapsed"]);
    let upgrade = status.upgrade.unwrap();
    assert_eq!((upgrade.behavior_version, upgrade.known_version), (Some(1), Some(2)));
    assert_eq!(upgrade.accepted_image.as_deref(), Some("node:2"));
}
