//! One state, one event, the decision and the next state.

use meridian_model::{ClusterId, LogIndex, PlayedRelease, PrimaryTerm, RegionName, ShardNumber};
use meridian_proto::topology::{Genesis, Member, MembersAt};

use super::*;

fn assignment() -> Assignment {
    let region = RegionName::new("us-east").unwrap();
    Assignment { cluster: ClusterId(1), region, shard: ShardNumber::FIRST, shards: 1, group: Some("g".into()) }
}

/// A replica of the assignment.
fn identity(replica: u64) -> Identity {
    let Assignment { cluster, region, shard, shards, group } = assignment();
    let genesis = Genesis { cluster, primary: region.clone(), region, shard, shards, primary_term: PrimaryTerm(1) };
    Identity {
        genesis,
        replica: ReplicaId(replica),
        founders: Vec::new(),
        group,
        behavior: meridian_model::BehaviorVersion::FIRST,
    }
}

fn foreign() -> Identity {
    let mut identity = identity(3);
    identity.genesis.cluster = ClusterId(7);
    identity
}

fn damage(replica: Option<u64>) -> Damage {
    Damage { replica: replica.map(ReplicaId), reason: "checksum".into() }
}

fn damaged(replica: Option<u64>) -> PodState {
    PodState::Damaged(damage(replica))
}

fn newer() -> PodState {
    PodState::Newer("format 9".into())
}

fn running() -> PodState {
    PodState::Running(ReplicaId(3))
}

fn join(identity: Identity) -> TopologyCall {
    TopologyCall::Join { identity, group: MembersAt { applied: LogIndex(9), members: Vec::new() } }
}

fn remove() -> TopologyCall {
    TopologyCall::Remove { replica: ReplicaId(3), expected: LogIndex(0) }
}

fn initialize(replica: u64, replaces: Option<Damage>) -> Decision {
    Decision::Initialize { identity: identity(replica), replaces }
}

/// Handles `event` in `state`.
#[track_caller]
fn check(state: &PodState, event: Event, decision: &Decision, next: &PodState) -> Lifecycle {
    let mut pod = Lifecycle { state: state.clone(), ..Lifecycle::new(assignment()) };
    assert_eq!(pod.handle(event), *decision);
    assert_eq!(pod.state(), next);
    pod
}

/// Handles a call in `state`, which stays.
#[track_caller]
fn check_call(state: &PodState, call: TopologyCall, decision: &Decision) -> Lifecycle {
    check(state, Event::Called(call), decision, state)
}

/// Refuses a call in `state` and says why.
#[track_caller]
fn check_refused(state: &PodState, call: TopologyCall, reason: &str) {
    let pod = check_call(state, call, &refuse(reason.into()));
    assert_eq!(pod.starting(), None);
}

fn inspected(folder: Folder) -> Event {
    Event::Inspected { folder, retired: None }
}

#[test]
fn a_sound_folder_of_this_pod_runs() {
    let pod =
        check(&PodState::Blank, inspected(Folder::Replica(identity(3))), &Decision::Run(identity(3)), &PodState::Blank);
    assert_eq!(pod.starting(), Some(ReplicaId(3)));
}

#[test]
fn a_folder_from_before_its_group_runs() {
    let ungrouped = Identity { group: None, ..identity(3) };
    let run = Decision::Run(ungrouped.clone());
    check(&PodState::Blank, inspected(Folder::Replica(ungrouped)), &run, &PodState::Blank);
}

#[test]
fn a_folder_that_differs_from_the_assignment_is_foreign() {
    let changes: [fn(&mut Identity); 5] = [
        |identity| identity.genesis.cluster = ClusterId(7),
        |identity| identity.genesis.region = RegionName::new("eu").unwrap(),
        |identity| identity.genesis.shard = ShardNumber::new(2).unwrap(),
        |identity| identity.genesis.shards = 2,
        |identity| identity.group = Some("another".into()),
    ];
    for change in changes {
        let mut found = identity(3);
        change(&mut found);
        let folder = Folder::Replica(found.clone());
        let pod = check(&PodState::Blank, inspected(folder), &Decision::Wait, &PodState::Foreign(found));
        assert_eq!(pod.starting(), None);
    }
}

#[test]
fn a_folder_of_a_newer_release_takes_no_call() {
    let folder = Folder::Newer { reason: "format 9".into() };
    let pod = check(&PodState::Blank, inspected(folder.clone()), &Decision::Wait, &newer());
    assert_eq!(pod.starting(), None);
    // Whatever stands beside it.
    let retired = Some(Retired { newest: Some(ReplicaId(3)), name: "retired-3".into() });
    check(&PodState::Blank, Event::Inspected { folder, retired }, &Decision::Wait, &newer());
    for call in [TopologyCall::Bootstrap(identity(9)), join(identity(9)), remove()] {
        check_refused(&newer(), call, "the volume is not touched: format 9");
    }
}

#[test]
fn a_damaged_folder_waits() {
    let folder = Folder::Damaged { replica: Some(ReplicaId(3)), reason: "checksum".into() };
    check(&PodState::Blank, inspected(folder), &Decision::Wait, &damaged(Some(3)));
}

#[test]
fn a_blank_folder_waits_and_beside_a_retired_one_it_is_damage() {
    check(&PodState::Blank, inspected(Folder::Blank), &Decision::Wait, &PodState::Blank);
    let retired = Some(Retired { newest: Some(ReplicaId(3)), name: "retired-3".into() });
    let reason = "there is no replica beside retired-3".into();
    let next = PodState::Damaged(Damage { replica: Some(ReplicaId(3)), reason });
    check(&PodState::Blank, Event::Inspected { folder: Folder::Blank, retired }, &Decision::Wait, &next);
}

#[test]
fn the_outcome_of_a_start_decides_the_state() {
    for (event, next) in [
        (Event::Started(ReplicaId(3)), running()),
        (Event::Unusable(damage(Some(3))), damaged(Some(3))),
        (Event::Newer("format 9".into()), newer()),
        (Event::NotStarted, PodState::Blank),
    ] {
        let mut pod = Lifecycle::new(assignment());
        pod.handle(inspected(Folder::Replica(identity(3))));
        assert_eq!(pod.handle(event), Decision::Wait);
        assert_eq!((pod.state(), pod.starting()), (&next, None));
    }
}

#[test]
fn a_blank_pod_founds_or_joins_a_group() {
    for call in [TopologyCall::Bootstrap(identity(3)), join(identity(3))] {
        let pod = check_call(&PodState::Blank, call, &initialize(3, None));
        assert_eq!(pod.starting(), Some(ReplicaId(3)));
    }
}

#[test]
fn a_second_call_is_refused_until_the_first_start_ends() {
    let mut pod = check_call(&PodState::Blank, join(identity(3)), &initialize(3, None));
    assert_eq!(pod.handle(Event::Called(join(identity(3)))), refuse("replica 3 is starting".into()));
    pod.handle(Event::NotStarted);
    assert_eq!(pod.handle(Event::Called(join(identity(3)))), initialize(3, None));
}

#[test]
fn a_call_for_another_assignment_is_refused() {
    let group = ", replication group g";
    let reason = format!(
        "the call speaks of cluster {}, region us-east, shard 1 of 1, replica 3{group}; \
         the configuration says cluster {}, region us-east, shard 1 of 1{group}",
        ClusterId(7),
        ClusterId(1)
    );
    check_refused(&PodState::Blank, TopologyCall::Bootstrap(foreign()), &reason);
    check_refused(&damaged(None), join(foreign()), &reason);
}

#[test]
fn a_pod_founds_and_joins_no_group_of_a_version_that_it_does_not_know() {
    let later = Identity { behavior: BehaviorVersion(2), ..identity(3) };
    let reason = format!("the group needs behavior version 2; release {RELEASE} knows versions up to 1");
    for call in [TopologyCall::Bootstrap(later.clone()), join(later.clone())] {
        check_refused(&PodState::Blank, call, &reason);
    }
    let _next = PlayedRelease::knowing(BehaviorVersion(2));
    let decision = Decision::Initialize { identity: later.clone(), replaces: None };
    assert_eq!(Lifecycle::new(assignment()).handle(Event::Called(join(later))), decision);
}

#[test]
fn a_damaged_pod_joins_only_under_a_greater_id() {
    check_call(&damaged(Some(3)), join(identity(4)), &initialize(4, Some(damage(Some(3)))));
    for replica in [2, 3] {
        check_refused(&damaged(Some(3)), join(identity(replica)), "a damaged replica joins under a new id");
    }
    check_call(&damaged(None), join(identity(1)), &initialize(1, Some(damage(None))));
}

#[test]
fn a_damaged_pod_founds_no_group() {
    let bootstrap = TopologyCall::Bootstrap(identity(9));
    check_refused(&damaged(Some(3)), bootstrap.clone(), "a damaged replica cannot found a group");
    check_refused(&damaged(None), bootstrap, "a damaged replica cannot found a group");
}

#[test]
fn a_foreign_volume_takes_no_call() {
    let state = PodState::Foreign(foreign());
    let reason = format!("the volume belongs to {} and is not touched", foreign());
    for call in [TopologyCall::Bootstrap(identity(9)), join(identity(9)), remove()] {
        check_refused(&state, call, &reason);
    }
}

#[test]
fn a_pod_without_a_replica_reports_its_state_and_takes_no_other_call() {
    let reason = "checksum".to_owned();
    for (state, pod) in [
        (PodState::Blank, PodStatus::Blank),
        (damaged(Some(3)), PodStatus::Damaged { replica: Some(ReplicaId(3)), reason }),
        (PodState::Foreign(foreign()), PodStatus::Foreign { identity: foreign() }),
        (newer(), PodStatus::Newer { reason: "format 9".into() }),
    ] {
        check_call(&state, TopologyCall::Status, &status(pod));
    }
    check_refused(&PodState::Blank, remove(), "not a replica yet");
    check_refused(&damaged(Some(3)), remove(), "not a replica yet");
}

#[test]
fn a_running_replica_answers_and_decides_whether_it_may_be_given_up() {
    for call in [TopologyCall::Status, TopologyCall::Bootstrap(identity(3)), remove()] {
        check_call(&running(), call.clone(), &Decision::Forward(call));
    }
    let call = join(identity(9));
    check_call(&running(), call.clone(), &Decision::ForwardJoin(call));
    check(&running(), Event::Released, &Decision::Retire(ReplicaId(3)), &running());
}

#[test]
fn a_replica_is_retired_once_its_folder_is_moved_aside() {
    let retired = PodState::Retired(ReplicaId(3));
    check(&running(), Event::MovedAside, &Decision::Wait, &retired);
    check_call(&retired, join(identity(9)), &Decision::Answer(TopologyAnswer::Started));
    check_call(&retired, TopologyCall::Status, &Decision::Forward(TopologyCall::Status));
}

#[test]
fn only_a_running_replica_is_retired() {
    for state in [PodState::Blank, damaged(Some(3)), PodState::Foreign(foreign()), newer()] {
        check(&state, Event::Released, &Decision::Wait, &state);
        check(&state, Event::MovedAside, &Decision::Wait, &state);
    }
}

#[test]
fn a_replica_has_caught_up_when_it_is_ready_and_has_a_vote() {
    let member = |id| Member { replica: ReplicaId(id), address: String::new() };
    for (ready, voters, expected) in
        [(true, vec![member(3)], true), (false, vec![member(3)], false), (true, vec![member(4)], false)]
    {
        let status = ReplicaStatus { ready, voters, ..ReplicaStatus::new(identity(3)) };
        assert_eq!(has_caught_up(&status), expected, "{status:?}");
    }
}
