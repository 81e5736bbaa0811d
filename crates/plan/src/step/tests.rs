//! The step machine against a small model of a region: pods, volumes, a StatefulSet controller and groups, with a
//! crash, a lost volume or a dead pod wherever a seed puts one.

mod region;
mod upgrade;

use std::collections::BTreeSet;

use meridian_model::{ReplicaId, ShardNumber};
use proptest::prelude::*;

use super::{Act, RefusedAct, Step, next_step};
use crate::ReplicaIdAllocator;
use crate::ValidCluster;
use crate::fixtures::{ALONE, GROUPED, MIRRORED, valid};
use region::{Fault, Region};

/// Turns after which a region must be at rest: each pod of the largest fixture may need a dozen.
const TURNS: usize = 200;

fn cluster(shards: u16, replicas: u16) -> ValidCluster {
    ValidCluster { shards, replicas, ..valid(ALONE, &[]) }
}

/// One shard with `replicas` replicas, at rest.
fn at_rest(replicas: u16) -> (ValidCluster, Region) {
    let cluster = cluster(1, replicas);
    let mut region = Region::default();
    settle(&cluster, &mut region);
    (cluster, region)
}

/// Runs turns until there is nothing to do; returns the acts.
fn settle(cluster: &ValidCluster, region: &mut Region) -> Vec<Act> {
    let mut acts = Vec::new();
    for _ in 0..TURNS {
        match region.turn(cluster, None) {
            Some(act) => acts.push(act),
            None if region.is_at_rest(cluster) => return acts,
            None => {}
        }
    }
    panic!("no rest after {TURNS} turns: {:?}", next_step(cluster, &region.observe(cluster)));
}

fn names(acts: &[Act]) -> Vec<&'static str> {
    acts.iter().map(Act::name).collect()
}

fn shard() -> ShardNumber {
    ShardNumber::FIRST
}

#[test]
fn a_new_cluster_is_bootstrapped_once_by_all_its_pods() {
    let cluster = cluster(2, 3);
    let mut region = Region::default();
    let acts = settle(&cluster, &mut region);
    assert_eq!(names(&acts), ["Bootstrap", "Bootstrap"]);
    assert_eq!(region.voters(shard()), [1, 2, 3]);
}

#[test]
fn nothing_is_bootstrapped_until_every_pod_reports_blank() {
    let cluster = cluster(1, 3);
    let mut region = Region::default();
    region.turn(&cluster, None);
    region.tick(&cluster);
    region.silence(shard(), 2, 1);
    let step = next_step(&cluster, &region.observe(&cluster));
    assert_eq!(step.act, None);
    assert_eq!(step.operations[0].blocked_by.as_ref().map(|b| b.predicate.as_str()), Some("PodsReachable"));
}

#[test]
fn no_shard_is_bootstrapped_while_a_volume_of_another_shard_is_unreported() {
    let cluster = cluster(2, 3);
    let mut region = Region::default();
    region.turn(&cluster, None);
    region.tick(&cluster);
    region.silence(ShardNumber::new(2).unwrap(), 1, usize::MAX); // its volume belongs to another cluster
    for _ in 0..5 {
        assert_eq!(region.turn(&cluster, None), None);
        let step = next_step(&cluster, &region.observe(&cluster));
        assert!(step.allocators.values().all(|allocator| allocator.bootstrap_ids.is_empty()), "{step:?}");
        assert_eq!(step.operations.len(), 2);
    }
    region.heal();
    assert_eq!(names(&settle(&cluster, &mut region)), ["Bootstrap", "Bootstrap"]);
}

/// The predicate of the first operation.
fn waits_for(cluster: &ValidCluster, region: &Region) -> String {
    let step = next_step(cluster, &region.observe(cluster));
    let blocked = step.operations.first().and_then(|operation| operation.blocked_by.as_ref());
    blocked.map(|blocked| blocked.predicate.clone()).unwrap_or_default()
}

#[test]
fn no_shard_is_bootstrapped_while_a_pod_has_a_foreign_volume() {
    let cluster = cluster(2, 3);
    let second = ShardNumber::new(2).unwrap();
    for (begun, newer) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut region = Region::default();
        region.newer = newer;
        region.turn(&cluster, None);
        region.tick(&cluster);
        if begun {
            assert_eq!(region.turn(&cluster, None).as_ref().map(Act::name), Some("Bootstrap"));
        }
        region.exchange(second, 1, true);
        for _ in 0..5 {
            let act = region.turn(&cluster, None);
            assert!(!matches!(act, Some(Act::Bootstrap { .. })), "{act:?}");
        }
        assert!(region.voters(second).is_empty());
        assert_eq!(waits_for(&cluster, &region), if newer { "VersionKnown" } else { "VolumesOwned" });
        region.exchange(second, 1, false);
        settle(&cluster, &mut region);
        assert_eq!(region.voters(second), [1, 2, 3]);
    }
}

#[test]
fn a_member_whose_pod_has_a_foreign_volume_is_neither_lost_nor_joined_again() {
    for newer in [false, true] {
        let (cluster, mut region) = at_rest(3);
        region.newer = newer;
        region.exchange(shard(), 1, true);
        for _ in 0..5 {
            assert_eq!(region.turn(&cluster, None), None);
        }
        assert_eq!(waits_for(&cluster, &region), if newer { "VersionKnown" } else { "VolumesOwned" });
        region.exchange(shard(), 1, false);
        assert_eq!(settle(&cluster, &mut region), []);
        assert_eq!(region.voters(shard()), [1, 2, 3]);
    }
}

/// The release was rolled back after the group had finalized a version that it does not know: all pods wait for an
/// image that knows it, and no new group is bootstrapped in their place.
#[test]
fn a_region_of_a_newer_release_is_not_bootstrapped_again_and_its_pods_are_restarted() {
    let (cluster, mut region) = at_rest(3);
    region.newer = true;
    (0..3).for_each(|ordinal| region.exchange(shard(), ordinal, true));
    for _ in 0..5 {
        assert_eq!(region.turn(&cluster, None), None);
    }
    assert_eq!(waits_for(&cluster, &region), "VersionKnown");
    region.revise();
    for _ in 0..3 {
        assert_eq!(region.turn(&cluster, None).as_ref().map(Act::name), Some("Evict"));
    }
    (0..3).for_each(|ordinal| region.exchange(shard(), ordinal, false));
    assert_eq!(settle(&cluster, &mut region), []);
    assert_eq!(region.voters(shard()), [1, 2, 3]);
}

#[test]
fn a_new_pod_with_a_foreign_volume_does_not_join() {
    for newer in [false, true] {
        let (_, mut region) = at_rest(3);
        region.newer = newer;
        let large = cluster(1, 5);
        region.turn(&large, None);
        region.exchange(shard(), 3, true);
        for _ in 0..20 {
            region.turn(&large, None); // the volume would be asserted to be ours
        }
        assert_eq!(region.voters(shard()), [1, 2, 3, 4]);
        region.exchange(shard(), 3, false);
        settle(&large, &mut region);
        assert_eq!(region.voters(shard()), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn an_earlier_group_is_recognized_only_if_every_volume_is_its_own() {
    let (cluster, mut region) = at_rest(3);
    region.delete();
    region.exchange(shard(), 2, true);
    for _ in 0..5 {
        assert_eq!(region.turn(&cluster, None), None);
    }
    let bootstrapped = |region: &Region| region.observe(&cluster).shards[&shard()].allocator.bootstrapped;
    assert!(!bootstrapped(&region), "the ids on unreported volumes are unknown");
    assert_eq!(waits_for(&cluster, &region), "VolumesOwned");
    region.exchange(shard(), 2, false);
    assert_eq!(settle(&cluster, &mut region), []);
    assert!(bootstrapped(&region));
}

#[test]
fn pods_with_foreign_volumes_are_restarted_for_an_adoption_without_a_leader() {
    let cluster = cluster(1, 3);
    let mut region = Region::default();
    region.turn(&cluster, None);
    region.tick(&cluster);
    for ordinal in 0..3 {
        region.exchange(shard(), ordinal, true);
    }
    assert_eq!(region.turn(&cluster, None), None);
    region.revise();
    for _ in 0..3 {
        assert_eq!(region.turn(&cluster, None).as_ref().map(Act::name), Some("Evict"));
    }
}

#[test]
fn replicas_grow_one_learner_at_a_time_and_nothing_restarts() {
    let (_, mut region) = at_rest(3);
    let acts = settle(&cluster(1, 5), &mut region);
    assert_eq!(names(&acts), ["Join", "AddLearner", "Promote", "Join", "AddLearner", "Promote"]);
    assert_eq!(region.voters(shard()), [1, 2, 3, 4, 5]);
}

#[test]
fn replicas_shrink_by_voter_first_then_by_pod() {
    let (_, mut region) = at_rest(5);
    let small = cluster(1, 3);
    let mut seen = Vec::new();
    for _ in 0..TURNS {
        let act = region.turn(&small, None);
        seen.push((act.as_ref().map(Act::name), region.replicas(shard()), region.voters(shard()).len()));
        if region.is_at_rest(&small) {
            break;
        }
    }
    for pair in seen.windows(2) {
        assert!(pair[0].1 - pair[1].1 <= 1, "more than one pod at a time: {seen:?}");
    }
    assert!(seen.iter().all(|(_, pods, voters)| usize::from(*pods) >= *voters), "{seen:?}");
    assert_eq!(region.voters(shard()), [1, 2, 3]);
}

#[test]
fn a_leader_that_must_leave_hands_over_first() {
    let (_, mut region) = at_rest(3);
    region.lead(shard(), 3);
    let acts = settle(&cluster(1, 1), &mut region);
    assert_eq!(names(&acts)[..2], ["TransferLeader", "Remove"]);
    assert_eq!(region.voters(shard()).len(), 1);
}

#[test]
fn a_pod_that_returns_after_its_removal_gets_a_new_id() {
    let (large, mut region) = at_rest(5);
    settle(&cluster(1, 3), &mut region);
    settle(&large, &mut region);
    assert_eq!(region.voters(shard()), [1, 2, 3, 6, 7]);
}

#[test]
fn an_unreachable_pod_keeps_the_id_that_it_received() {
    let (_, mut region) = at_rest(3);
    let large = cluster(1, 5);
    while region.turn(&large, None).is_none_or(|act| act.name() != "Join") {
        region.tick(&large);
    }
    region.silence(shard(), 3, 2);
    settle(&large, &mut region);
    assert_eq!(region.voters(shard()), [1, 2, 3, 4, 5]);
}

#[test]
fn a_lost_volume_is_replaced_under_a_new_id() {
    let (cluster, mut region) = at_rest(3);
    region.fault(Fault::LoseVolume(shard(), 1));
    let acts = settle(&cluster, &mut region);
    assert_eq!(names(&acts), ["Remove", "Join", "AddLearner", "Promote"]);
    assert_eq!(region.voters(shard()), [1, 3, 4]);
}

#[test]
fn a_damaged_log_is_replaced_under_a_new_id() {
    let (cluster, mut region) = at_rest(3);
    region.fault(Fault::Damage(shard(), 0));
    settle(&cluster, &mut region);
    assert_eq!(region.voters(shard()), [2, 3, 4]);
}

#[test]
fn a_volume_without_a_readable_identity_is_replaced_under_a_new_id() {
    let (cluster, mut region) = at_rest(3);
    region.fault(Fault::LoseIdentity(shard(), 0));
    let acts = settle(&cluster, &mut region);
    assert_eq!(names(&acts), ["Remove", "Join", "AddLearner", "Promote"]);
    assert_eq!(region.voters(shard()), [2, 3, 4]);
}

#[test]
fn nothing_is_bootstrapped_beside_a_volume_without_a_readable_identity() {
    let (cluster, mut region) = at_rest(3);
    for ordinal in 0..3 {
        let fault = if ordinal == 1 { Fault::LoseIdentity } else { Fault::LoseVolume };
        region.fault(fault(shard(), ordinal));
    }
    region.fault(Fault::ForgetStatus);
    assert_eq!(region.turn(&cluster, None), None);
    let step = next_step(&cluster, &region.observe(&cluster));
    assert_eq!(step.operations[0].blocked_by.as_ref().map(|b| b.predicate.as_str()), Some("VolumeRestored"));
}

#[test]
fn a_rolling_change_restarts_the_leader_last_and_after_a_transfer() {
    let (cluster, mut region) = at_rest(3);
    region.lead(shard(), 3);
    region.revise();
    let acts = settle(&cluster, &mut region);
    assert_eq!(names(&acts), ["Evict", "Evict", "TransferLeader", "Evict"]);
    let evicted: Vec<u16> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Evict { ordinal, .. } => Some(*ordinal),
            _ => None,
        })
        .collect();
    assert_eq!(evicted, [1, 0, 2]);
}

#[test]
fn a_link_comes_pauses_and_goes_without_a_restart() {
    let at = |links: &[&str]| ValidCluster { shards: 2, ..valid(GROUPED, links) };
    let mut region = Region::default();
    settle(&at(&[]), &mut region);
    let paused = format!("{MIRRORED}  state: Paused\n");
    for links in [&[MIRRORED][..], &[&paused], &[]] {
        let acts = settle(&at(links), &mut region);
        assert_eq!(names(&acts), ["SetLinks", "SetLinks"], "one for each shard: {links:?}");
        for number in ShardNumber::all(2) {
            let paused_links: Vec<bool> = region.links(number).iter().map(|link| link.paused).collect();
            assert_eq!(paused_links, links.iter().map(|link| **link == *paused).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_link_is_paused_while_a_replica_is_lost() {
    let wanted = valid(GROUPED, &[MIRRORED]);
    let mut region = Region::default();
    settle(&wanted, &mut region);
    region.silence(shard(), 2, usize::MAX);
    let paused = valid(GROUPED, &[&format!("{MIRRORED}  state: Paused\n")]);
    assert_eq!(region.turn(&paused, None).map(|act| act.name()), Some("SetLinks"));
}

#[test]
fn one_replica_alone_is_restarted_all_the_same() {
    let (cluster, mut region) = at_rest(1);
    region.revise();
    assert_eq!(names(&settle(&cluster, &mut region)), ["Evict"]);
}

#[test]
fn no_pod_is_restarted_while_another_anywhere_is_down() {
    let cluster = cluster(2, 3);
    let mut region = Region::default();
    settle(&cluster, &mut region);
    region.revise();
    region.renew(shard(), 0); // it has the new revision and does not come up
    region.silence(shard(), 0, usize::MAX);
    for _ in 0..20 {
        assert_eq!(region.turn(&cluster, None), None);
    }
    let step = next_step(&cluster, &region.observe(&cluster));
    assert!(
        step.operations.iter().any(|o| o.blocked_by.as_ref().is_some_and(|b| b.predicate == "AllReplicasCaughtUp")),
        "{step:?}"
    );
}

#[test]
fn a_bad_revision_that_stopped_one_pod_is_rolled_back() {
    let (cluster, mut region) = at_rest(3);
    region.silence(shard(), 2, usize::MAX);
    region.revise();
    let act = next_step(&cluster, &region.observe(&cluster)).act;
    assert!(matches!(act, Some(Act::Evict { ordinal: 2, .. })), "{act:?}");
}

#[test]
fn the_loss_of_all_volumes_is_reported_and_nothing_is_bootstrapped_again() {
    let (cluster, mut region) = at_rest(3);
    for ordinal in 0..3 {
        region.fault(Fault::LoseVolume(shard(), ordinal));
    }
    region.tick(&cluster);
    let step = next_step(&cluster, &region.observe(&cluster));
    assert_eq!(step.act, None);
    assert_eq!(step.operations[0].blocked_by.as_ref().map(|b| b.predicate.as_str()), Some("VolumeRestored"));
}

#[test]
fn a_resource_applied_again_finds_its_groups_on_the_volumes() {
    let (cluster, mut region) = at_rest(3);
    region.delete();
    let acts = settle(&cluster, &mut region);
    assert_eq!(acts, []);
    assert_eq!(region.voters(shard()), [1, 2, 3]);
}

#[test]
fn a_resource_applied_again_with_fewer_replicas_waits_for_every_volume() {
    let (_, mut region) = at_rest(5);
    region.delete();
    settle(&cluster(1, 3), &mut region);
    assert_eq!(region.voters(shard()), [1, 2, 3]);
    assert_eq!(region.founded_times(), 1);
}

#[test]
fn an_id_found_only_on_an_old_volume_is_not_allocated_again() {
    let (_, mut region) = at_rest(5);
    let three = cluster(1, 3);
    settle(&three, &mut region);
    region.delete();
    region.fault(Fault::LoseVolume(shard(), 0));
    settle(&three, &mut region);
    assert_eq!(region.voters(shard()), [2, 3, 6]);
}

#[test]
fn a_first_member_that_lost_its_volume_is_not_bootstrapped_again() {
    let cluster = cluster(1, 3);
    let mut region = Region::default();
    while !matches!(region.turn(&cluster, None), Some(Act::Bootstrap { .. })) {}
    region.fault(Fault::LoseVolume(shard(), 2));
    settle(&cluster, &mut region);
    assert_eq!(region.voters(shard()), [1, 2, 4]);
}

#[test]
fn an_allocator_survives_its_form_in_the_status() {
    let allocator = ReplicaIdAllocator {
        bootstrapped: false,
        bootstrap_ids: vec![ReplicaId(1)],
        next: ReplicaId(9),
        joining: Some(ReplicaId(8)),
    };
    assert_eq!(ReplicaIdAllocator::from_status(&allocator.to_status(shard())), allocator);
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let shard = (1u16..3).prop_map(|n| ShardNumber::new(n).unwrap());
    let fault = prop_oneof![
        (shard.clone(), 0u16..5).prop_map(|(s, o)| Fault::LoseVolume(s, o)),
        (shard.clone(), 0u16..5).prop_map(|(s, o)| Fault::Damage(s, o)),
        (shard, 0u16..5, 1usize..6).prop_map(|(s, o, turns)| Fault::Silence(s, o, turns)),
        Just(Fault::Revise),
        Just(Fault::CrashBeforeAct),
        Just(Fault::CrashHalfWay),
        Just(Fault::ForgetStatus),
        prop_oneof![Just(1u16), Just(3), Just(5)].prop_map(Fault::Scale),
    ];
    prop::collection::vec((0usize..60, fault), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For all faults and crashes of the operator: no act costs a quorum, no id is allocated twice, no group is
    /// bootstrapped twice, and the region converges to the spec. (Volumes are lost only where the group survives it.)
    #[test]
    fn the_quorum_survives_and_the_region_converges(faults in faults()) {
        let mut wanted = cluster(2, 3);
        let mut region = Region::default();
        for turn in 0..60 {
            let mut crash = None;
            for (_, fault) in faults.iter().filter(|(at, _)| *at == turn) {
                match fault {
                    Fault::Scale(replicas) => wanted.replicas = *replicas,
                    Fault::CrashBeforeAct | Fault::CrashHalfWay => crash = Some(*fault),
                    fault => region.fault_if_survivable(*fault),
                }
            }
            region.turn(&wanted, crash);
        }
        region.heal();
        settle(&wanted, &mut region);
        for shard in ShardNumber::all(2) {
            prop_assert_eq!(region.voters(shard).len(), usize::from(wanted.replicas));
            prop_assert_eq!(region.replicas(shard), wanted.replicas);
        }
        prop_assert_eq!(region.founded_times(), 2);
        let ids = region.ids_given();
        prop_assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "an id was allocated twice: {:?}", ids);
        // At rest no act is proposed and no id is allocated.
        let step = next_step(&wanted, &region.observe(&wanted));
        prop_assert_eq!(&step.act, &None);
        prop_assert_eq!(&step.operations, &[]);
    }
}

/// The step of a region in which `act` was refused.
fn step_after(cluster: &ValidCluster, region: &Region, act: &Act, due: bool) -> Step {
    let mut observed = region.observe(cluster);
    observed.refused = vec![RefusedAct { act: act.clone(), message: "replica 7 is silent".into(), due }];
    next_step(cluster, &observed)
}

#[test]
fn a_refused_act_is_explained_waits_and_holds_up_no_other_shard() {
    let mut region = Region::default();
    settle(&cluster(2, 3), &mut region);
    let large = cluster(2, 5);
    let mut act = None;
    while act.as_ref().map(Act::name) != Some("AddLearner") {
        act = next_step(&large, &region.observe(&large)).act;
        region.turn(&large, None);
    }
    let observed = region.observe(&large);
    let promote = next_step(&large, &observed).act.unwrap();
    assert!(matches!(promote, Act::Promote { shard: ShardNumber::FIRST, .. }), "{promote:?}");

    let waiting = step_after(&large, &region, &promote, false);
    let other = waiting.act.expect("the second shard goes on");
    assert!(matches!(&other, Act::Join { shard, .. } if *shard != ShardNumber::FIRST), "{other:?}");
    let blocked = waiting.operations[0].blocked_by.as_ref().expect("the wait is explained");
    assert_eq!((blocked.predicate.as_str(), blocked.message.as_str()), ("PromoteAccepted", "replica 7 is silent"));

    let again = step_after(&large, &region, &promote, true);
    assert_eq!(again.act.as_ref(), Some(&promote));
    assert_eq!(again.operations[0], waiting.operations[0], "the status does not flap while it is tried again");
}

#[test]
fn a_refused_join_waits_under_every_id_and_allocates_none() {
    let (_, region) = at_rest(3);
    let large = cluster(1, 5);
    let mut region = region;
    let mut join = None;
    while join.as_ref().map(Act::name) != Some("Join") {
        region.tick(&large);
        join = next_step(&large, &region.observe(&large)).act;
        if join.is_none() {
            region.turn(&large, None);
        }
    }
    let allocator = region.observe(&large).shards[&shard()].allocator.clone();
    let Some(Act::Join { shard: of, ordinal, mut identity, group }) = join else { unreachable!() };
    identity.replica = ReplicaId(99);
    let refused = Act::Join { shard: of, ordinal, identity, group };
    let step = step_after(&large, &region, &refused, false);
    assert_eq!((step.act, &step.allocators[&shard()]), (None, &allocator));
}

#[test]
fn a_refused_eviction_is_explained_and_waits() {
    let (cluster, mut region) = at_rest(3);
    region.revise();
    region.turn(&cluster, Some(Fault::CrashBeforeAct));
    let evict = next_step(&cluster, &region.observe(&cluster)).act.unwrap();
    assert_eq!(evict.name(), "Evict");
    let step = step_after(&cluster, &region, &evict, false);
    assert_eq!(step.act, None);
    let predicates: Vec<_> =
        step.operations.iter().filter_map(|o| Some(o.blocked_by.as_ref()?.predicate.as_str())).collect();
    assert_eq!(predicates, ["EvictAccepted"]);
}
