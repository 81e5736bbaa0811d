use super::*;
use crate::effect::Effect;
use crate::testing::Bench;
use meridian_model::PlayedRelease;
use meridian_raft::Change;

const FIRST: BehaviorVersion = BehaviorVersion::FIRST;
const NEXT: BehaviorVersion = BehaviorVersion(2);

/// Replica 1 as leader of a group, with the next version.
struct Leader {
    bench: Bench,
    versions: Versions,
    _knows: PlayedRelease,
}

impl Leader {
    fn of(voters: u64) -> Self {
        let _knows = PlayedRelease::knowing(NEXT);
        let mut bench = Bench::of(voters);
        if voters == 1 {
            bench.lead();
        }
        bench.facts.leading = true;
        bench.facts.admits_small = true;
        bench.settings.other_regions = vec![region("eu-west")];
        Self { bench, versions: Versions::default(), _knows }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.versions.handle(cx, event))
    }

    fn met(&mut self, replica: u64, behavior: BehaviorVersion) {
        let build = Build { behavior, release: format!("0.{behavior}.0"), ..Build::current() };
        self.handle(Event::Met { replica: ReplicaId(replica), build });
    }

    /// The immediate answer to a call, if any.
    fn call(&mut self, event: Event) -> Option<TopologyAnswer> {
        answer(&self.handle(event))
    }

    fn finalize(&mut self, version: u16) -> Option<TopologyAnswer> {
        self.call(Event::Finalize { ticket: 7, version: BehaviorVersion(version) })
    }

    fn publish(&mut self, version: u16) -> Option<TopologyAnswer> {
        self.call(Event::Publish { ticket: 7, version: BehaviorVersion(version) })
    }

    /// Applies the proposed entry.
    fn apply(&mut self, outcome: Outcome) -> Option<TopologyAnswer> {
        self.bench.drive();
        self.call(Event::Applied(outcome))
    }
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

fn answer(effects: &[Effect]) -> Option<TopologyAnswer> {
    effects.iter().find_map(|effect| match effect {
        Effect::Command(Command::TopologyReply { ticket: 7, answer }) => Some(answer.clone()),
        _ => None,
    })
}

/// Number of the call to each region.
fn asked(effects: &[Effect]) -> Vec<u64> {
    let call = |effect: &Effect| match effect {
        Effect::Command(Command::SendRegion(Peer::Region(_), RegionMessage::Call(call, RegionCall::Behavior))) => {
            Some(*call)
        }
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

#[test]
fn a_version_is_finalized_once_and_then_published() {
    let mut leader = Leader::of(1);
    let Some(TopologyAnswer::Refused(early)) = leader.publish(2) else { panic!("published before it is finalized") };
    assert_eq!(early, "publish behavior version 2: the group has finalized 1");
    assert_eq!(leader.finalize(2), None, "answered when the entry is applied");
    let answer = leader.apply(Outcome::VersionSwitched(NEXT));
    let applied = leader.bench.state.applied();
    assert_eq!((answer, leader.bench.state.behavior()), (Some(TopologyAnswer::Done { version: applied }), NEXT));
    for again in [1, 2] {
        assert_eq!(leader.finalize(again), Some(TopologyAnswer::Done { version: applied }));
    }
    assert_eq!(leader.publish(2), None);
    assert!(matches!(leader.apply(Outcome::Published(NEXT)), Some(TopologyAnswer::Done { .. })));
    assert_eq!(leader.bench.state.published(), NEXT);
    assert!(matches!(leader.publish(2), Some(TopologyAnswer::Done { .. })));
}

#[test]
fn a_version_is_refused_with_the_members_that_may_not_support_it() {
    let mut leader = Leader::of(3);
    let refusal = |leader: &mut Leader, version| {
        let Some(TopologyAnswer::Refused(why)) = leader.finalize(version) else { panic!("not refused") };
        why
    };
    leader.met(2, FIRST);
    leader.met(4, FIRST);
    let text = "finalize behavior version 2: replica 2 runs release 0.1.0, which knows versions up to 1; replica 3 is not connected";
    assert_eq!(refusal(&mut leader, 2), text);
    leader.met(2, NEXT);
    leader.met(3, NEXT);
    // The consensus library of this replica does not lead, so the call reaches the proposal and fails there.
    assert!(matches!(leader.finalize(2), Some(TopologyAnswer::NotLeader { .. })));
    leader.handle(Event::Lost(ReplicaId(3)));
    assert_eq!(refusal(&mut leader, 2), "finalize behavior version 2: replica 3 is not connected");
    leader.met(3, NEXT);
    assert_eq!(refusal(&mut leader, 3), "finalize behavior version 3: the leader knows versions up to 2");
    leader.bench.facts.admits_small = false;
    assert_eq!(refusal(&mut leader, 2), DISK_FULL);
}

#[test]
fn a_version_is_not_finalized_while_the_members_change() {
    let mut leader = Leader::of(1);
    leader.bench.raft.change_members(Change::AddLearner(2), Vec::new()).unwrap();
    let text = "finalize behavior version 2: a membership change is under way";
    assert_eq!(leader.finalize(2), Some(TopologyAnswer::Refused(text.into())));
}

#[test]
fn a_learner_is_a_member_that_must_know_the_version() {
    let mut leader = Leader::of(1);
    leader.bench.raft.change_members(Change::AddLearner(2), Vec::new()).unwrap();
    leader.bench.drive();
    let text = "finalize behavior version 2: replica 2 is not connected";
    assert_eq!(leader.finalize(2), Some(TopologyAnswer::Refused(text.into())));
    leader.met(2, NEXT);
    assert_eq!(leader.finalize(2), None, "it is proposed");
}

#[test]
fn only_a_leader_changes_versions() {
    let mut leader = Leader::of(1);
    leader.bench.facts.leading = false;
    assert!(matches!(leader.finalize(2), Some(TopologyAnswer::NotLeader { .. })));
    assert!(matches!(leader.publish(1), Some(TopologyAnswer::NotLeader { .. })));
    leader.bench.facts.leading = true;
    assert_eq!(leader.finalize(2), None);
    assert_eq!(leader.call(Event::LeadershipLost), Some(TopologyAnswer::NotLeader { leader: None }));
}

#[test]
fn a_call_that_is_not_committed_in_time_is_refused() {
    let mut leader = Leader::of(1);
    assert_eq!(leader.finalize(2), None);
    leader.bench.pass(Duration::from_secs(9));
    assert_eq!(answer(&leader.handle(Event::Tick)), None);
    leader.bench.pass(Duration::from_secs(1));
    assert!(matches!(answer(&leader.handle(Event::Tick)), Some(TopologyAnswer::Refused(_))));
}

#[test]
fn a_replica_joins_a_group_of_a_later_version_only_if_its_build_supports_it() {
    let mut leader = Leader::of(1);
    let refusal = |leader: &Leader| leader.versions.learner_refusal(leader.bench.state.behavior(), ReplicaId(2));
    assert_eq!(refusal(&leader), None, "every build supports the first version");
    assert_eq!(leader.finalize(2), None);
    let silent = Some("replica 2 is not connected".into());
    assert_eq!(refusal(&leader), silent, "from the proposal on, before it is applied");
    leader.apply(Outcome::VersionSwitched(NEXT));
    assert_eq!(refusal(&leader), silent);
    leader.met(2, FIRST);
    assert!(refusal(&leader).is_some_and(|why| why.contains("0.1.0")));
    leader.met(2, NEXT);
    assert_eq!(refusal(&leader), None);
}

/// The entry may be lost with the leadership, and then holds nobody off.
#[test]
fn a_version_that_was_proposed_and_never_applied_counts_only_while_this_replica_leads() {
    let mut leader = Leader::of(1);
    assert_eq!(leader.finalize(2), None);
    leader.handle(Event::LeadershipLost);
    assert_eq!(leader.versions.learner_refusal(FIRST, ReplicaId(2)), None);
}

#[test]
fn other_regions_are_polled_until_the_newest_version_is_published() {
    let mut leader = Leader::of(1);
    let first = asked(&leader.handle(Event::Tick));
    assert_eq!(first.len(), 1);
    assert!(asked(&leader.handle(Event::Tick)).is_empty());
    leader.bench.pass(ASK_EVERY);
    let second = asked(&leader.handle(Event::Tick));
    assert_eq!(second.len(), 1);
    leader.handle(Event::RegionReported { call: first[0], finalized: NEXT });
    assert!(leader.versions.regions().is_empty(), "a later call replaced this one");
    leader.handle(Event::RegionReported { call: second[0], finalized: NEXT });
    assert_eq!(leader.versions.regions(), [RegionBehavior { region: region("eu-west"), behavior: NEXT }]);
    leader.handle(Event::RegionConnected(region("eu-west")));
    let third = asked(&leader.handle(Event::Tick));
    leader.handle(Event::RegionReported { call: third[0], finalized: FIRST });
    assert_eq!(leader.versions.regions(), [RegionBehavior { region: region("eu-west"), behavior: FIRST }]);
    leader.bench.pass(FORGET_AFTER - Duration::from_millis(1));
    leader.handle(Event::Tick);
    assert_eq!(leader.versions.regions().len(), 1);
    leader.bench.pass(Duration::from_millis(1));
    leader.handle(Event::Tick);
    assert!(leader.versions.regions().is_empty(), "the report expired");

    leader.finalize(2);
    leader.apply(Outcome::VersionSwitched(NEXT));
    leader.publish(2);
    assert!(!leader.versions.is_idle(leader.bench.state.published()));
    leader.apply(Outcome::Published(NEXT));
    assert!(leader.versions.is_idle(leader.bench.state.published()));
    leader.bench.pass(ASK_EVERY);
    assert!(asked(&leader.handle(Event::Tick)).is_empty());
}

#[test]
fn what_other_regions_reported_ends_with_the_leadership() {
    let mut leader = Leader::of(1);
    let call = asked(&leader.handle(Event::Tick))[0];
    leader.handle(Event::RegionReported { call, finalized: NEXT });
    assert_eq!(leader.versions.regions().len(), 1);
    leader.handle(Event::LeadershipLost);
    assert!(leader.versions.regions().is_empty());
    assert_eq!(asked(&leader.handle(Event::Tick)).len(), 1, "a new leadership asks at once");
}

#[test]
fn only_the_leader_of_the_first_shard_polls_other_regions() {
    let mut leader = Leader::of(1);
    leader.bench.facts.leading = false;
    assert!(asked(&leader.handle(Event::Tick)).is_empty());
    leader.bench.facts.leading = true;
    leader.bench.identity.genesis.shard = ShardNumber::all(2).last().unwrap();
    assert!(asked(&leader.handle(Event::Tick)).is_empty());
    let _previous = PlayedRelease::knowing(FIRST);
    leader.bench.identity.genesis.shard = ShardNumber::FIRST;
    assert!(
        asked(&leader.handle(Event::Tick)).is_empty(),
        "a build that supports only the first version has nothing to publish"
    );
}
