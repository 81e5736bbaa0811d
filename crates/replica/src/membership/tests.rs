use std::time::Duration;

use meridian_model::{Link, RegionName, Transport};
use meridian_proto::topology::TopologyCall as Call;

use super::*;
use crate::testing::{Bench, identity};
use crate::waiting::COMMIT_TIMEOUT;

/// The membership of one replica, and what it is lent.
struct Fixture {
    bench: Bench,
    membership: Membership,
}

impl Fixture {
    /// A follower, as replica 2 of a group of three that it belongs to.
    fn follower() -> Self {
        let mut bench = Bench::of(3);
        bench.identity = identity(2, 3);
        let membership = Membership::of(&bench.identity.founders);
        Self { bench, membership }
    }

    /// The leader of a group of one.
    fn leader() -> Self {
        let mut bench = Bench::new();
        bench.lead();
        (bench.facts.leading, bench.facts.admits_small) = (true, true);
        let membership = Membership::of(&bench.identity.founders);
        Self { bench, membership }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.membership.handle(cx, event))
    }

    fn call(&mut self, call: Call) -> Vec<Effect> {
        self.handle(Event::Call { ticket: 7, call })
    }

    /// The change of the group that the library commits.
    fn committed(&mut self) -> RaftEntry {
        let mut committed = Vec::new();
        while let Some(output) = self.bench.raft.output() {
            self.bench.raft.persisted(output.number);
            committed.extend(output.committed);
        }
        assert_eq!(committed.len(), 1);
        committed.remove(0)
    }
}

/// The only answer, to the only call.
fn answer(effects: &[Effect]) -> &TopologyAnswer {
    let answers: Vec<&TopologyAnswer> = (effects.iter())
        .filter_map(|effect| match effect {
            Effect::Command(Command::TopologyReply { ticket: 7, answer }) => Some(answer),
            _ => None,
        })
        .collect();
    assert_eq!(answers.len(), 1, "{effects:?}");
    answers[0]
}

fn leaves(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| if let Effect::LeaveService(why) = effect { Some(why.as_str()) } else { None })
}

fn join(replica: u64, applied: u64, members: &[u64]) -> Call {
    let members = members.iter().copied().map(ReplicaId).collect();
    Call::Join { identity: identity(replica, 0), group: MembersAt { applied: LogIndex(applied), members } }
}

fn add(replica: u64, expected: u64) -> Call {
    let member = Member { replica: ReplicaId(replica), address: format!("pod-{replica}:8082") };
    Call::AddLearner { member, expected: LogIndex(expected) }
}

#[test]
fn a_member_that_hears_no_leader_does_not_give_itself_up() {
    let mut fixture = Fixture::follower();
    for (call, why) in [
        (join(9, 1_000, &[1, 2, 3]), "it is a member"),
        (join(9, 0, &[1, 3, 4]), "not agreed on yet"),
        (join(1, 1_000, &[3, 4]), "replica 2 of shard 1"),
    ] {
        let effects = fixture.call(call);
        let TopologyAnswer::Refused(said) = answer(&effects) else { panic!("{effects:?}") };
        assert!(said.contains(why), "{said}");
        assert_eq!(leaves(&effects), None);
    }
}

#[test]
fn a_replica_that_the_group_has_taken_out_gives_itself_up() {
    let mut fixture = Fixture::follower();
    let last = fixture.bench.raft.status().last_index;
    for _ in 0..2 {
        let effects = fixture.call(join(9, last, &[1, 3, 4]));
        assert_eq!(answer(&effects), &TopologyAnswer::Started, "the answer may have been lost");
        assert_eq!(leaves(&effects), Some("given up to become replica 9"));
    }
}

#[test]
fn one_that_joined_and_was_never_added_can_join_under_another_id() {
    let mut fixture = Fixture::follower();
    fixture.bench.identity = identity(5, 0);
    fixture.membership = Membership::of(&[]);
    assert_eq!(answer(&fixture.call(join(5, 40, &[1, 2, 3]))), &TopologyAnswer::Done { version: LogIndex(1) });
    assert_eq!(answer(&fixture.call(join(6, 40, &[1, 2, 3]))), &TopologyAnswer::Started);
}

#[test]
fn only_a_leader_changes_the_group_and_only_as_it_is_expected_to_stand() {
    let mut fixture = Fixture::follower();
    assert_eq!(answer(&fixture.call(add(4, 1))), &TopologyAnswer::NotLeader { leader: None });
    let mut fixture = Fixture::leader();
    assert_eq!(answer(&fixture.call(add(4, 0))), &TopologyAnswer::Conflict { version: LogIndex(1) });
    assert_eq!(answer(&fixture.call(add(1, 0))), &TopologyAnswer::Done { version: LogIndex(1) }, "it is there");
    fixture.bench.facts.admits_small = false;
    assert!(matches!(answer(&fixture.call(add(4, 1))), TopologyAnswer::Refused(why) if why == DISK_FULL));
}

#[test]
fn a_change_is_answered_when_it_is_applied() {
    let mut fixture = Fixture::leader();
    assert!(fixture.call(add(4, 1)).is_empty());
    assert!(!fixture.membership.is_idle());
    let entry = fixture.committed();
    let index = LogIndex(entry.index);
    let effects = fixture.handle(Event::Committed(entry));
    let [Effect::SkipEntry(skipped), Effect::Command(Command::Dial(node, address)), Effect::MembersChanged(changed)] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*skipped, *changed, node.replica, address.as_str()), (index, index, ReplicaId(4), "pod-4:8082"));
    assert_eq!((fixture.membership.version(), fixture.membership.addresses().len()), (index, 2));
    assert_eq!(answer(&fixture.handle(Event::Applied(index))), &TopologyAnswer::Done { version: index });
    assert!(fixture.membership.is_idle());
}

#[test]
fn a_replica_that_is_removed_leaves_service_and_the_region_forgets_it() {
    let mut fixture = Fixture::leader();
    fixture.call(add(4, 1));
    let entry = fixture.committed();
    let version = entry.index;
    fixture.handle(Event::Committed(entry));
    fixture.bench.raft.applied(version);
    fixture.call(Call::Remove { replica: ReplicaId(4), expected: LogIndex(version) });
    let entry = fixture.committed();
    // As the removed replica applies it.
    fixture.bench.identity.replica = ReplicaId(4);
    let effects = fixture.handle(Event::Committed(entry));
    assert_eq!(leaves(&effects), Some("removed from its group"));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ForgetNode(node) if node.replica == ReplicaId(4))));
}

#[test]
fn a_call_that_is_not_committed_in_time_or_by_this_leader_is_given_up() {
    let mut fixture = Fixture::leader();
    fixture.call(add(4, 1));
    fixture.bench.pass(COMMIT_TIMEOUT - Duration::from_millis(1));
    assert!(fixture.handle(Event::Tick).is_empty());
    fixture.bench.pass(Duration::from_millis(1));
    assert!(matches!(answer(&fixture.handle(Event::Tick)), TopologyAnswer::Refused(_)));
    let mut fixture = Fixture::leader();
    fixture.call(add(4, 1));
    assert_eq!(answer(&fixture.handle(Event::LeadershipLost)), &TopologyAnswer::NotLeader { leader: None });
    assert!(fixture.membership.is_idle());
}

#[test]
fn links_that_changed_are_followed_at_once() {
    let link = |source: &str| {
        let source = RegionName::new(source).unwrap();
        vec![Link { source, transport: Transport::Direct, paused: false }]
    };
    let mut fixture = Fixture::leader();
    let set = |links| Call::SetLinks { links, expected: LogIndex(0) };
    assert!(matches!(answer(&fixture.call(set(link("us-east")))), TopologyAnswer::Refused(_)), "its own region");
    assert!(fixture.call(set(link("eu-west"))).is_empty());
    fixture.bench.drive();
    let effects = fixture.handle(Event::LinksApplied { changed: true });
    let version = fixture.bench.state.links_version();
    assert_eq!(answer(&effects), &TopologyAnswer::Done { version });
    assert!(matches!(effects.last(), Some(Effect::FollowLinks)));
    fixture.bench.facts.leading = false;
    assert!(fixture.handle(Event::LinksApplied { changed: true }).is_empty());
}

#[test]
fn links_that_another_call_came_before_are_a_conflict_and_not_followed() {
    let mut fixture = Fixture::leader();
    let link = Link { source: RegionName::new("eu-west").unwrap(), transport: Transport::Direct, paused: false };
    assert!(fixture.call(Call::SetLinks { links: vec![link], expected: LogIndex(0) }).is_empty());
    fixture.bench.drive();
    let version = fixture.bench.state.links_version();
    let effects = fixture.handle(Event::LinksApplied { changed: false });
    assert_eq!((answer(&effects), effects.len()), (&TopologyAnswer::Conflict { version }, 1));
}
