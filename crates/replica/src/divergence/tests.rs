use std::num::NonZeroU64;

use meridian_model::ShardNumber;

use super::*;
use crate::Command;
use crate::testing::Bench;

/// A checksum other than the own one.
const OTHER: Hash = [9; 32];
/// The checksum of the majority, and a third one.
const THIRD: Hash = [7; 32];

/// A replica of a group of three that has applied some entries.
struct Fixture {
    bench: Bench,
    divergence: Divergence,
    at: LogIndex,
    own: Hash,
}

impl Fixture {
    fn new() -> Self {
        let mut bench = Bench::of(3);
        bench.state.checksum_every(NonZeroU64::MIN);
        let at = LogIndex(bench.state.applied().0 + 1);
        bench.state.apply(at, &Entry::Noop);
        let own = bench.state.checksum_at(at).unwrap();
        Self { bench, divergence: Divergence::default(), at, own }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.divergence.handle(cx, event))
    }

    fn checksum(&mut self, hash: Hash) -> Vec<Effect> {
        self.handle(Event::ChecksumApplied { at: self.at, hash })
    }

    fn compared(&mut self, from: u64, hash: Hash) -> Vec<Effect> {
        self.handle(Event::Compared { from: node(from), at: self.at, hash: Some(hash) })
    }

    fn compare_asked(&mut self, from: u64, hash: Hash) -> Vec<Effect> {
        self.handle(Event::CompareAsked { from: node(from), call: 5, at: self.at, hash })
    }

    fn in_doubt(&self) -> bool {
        self.divergence.is_in_doubt(&self.bench.settings)
    }
}

fn node(replica: u64) -> NodeId {
    NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(replica) }
}

/// Receivers of calls for a checksum.
fn compares(effects: &[Effect]) -> Vec<u64> {
    let to = |effect: &Effect| match effect {
        Effect::Command(Command::Send(to, PeerMessage::Call(_, Call::Compare { .. }))) => Some(to.replica.0),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

/// Receivers of calls for a snapshot.
fn state_calls(effects: &[Effect]) -> Vec<u64> {
    let to = |effect: &Effect| match effect {
        Effect::Command(Command::Send(to, PeerMessage::Call(_, Call::Snapshot { .. }))) => Some(to.replica.0),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

#[test]
fn a_checksum_that_agrees_is_counted() {
    let mut fixture = Fixture::new();
    assert!(fixture.checksum(fixture.own).is_empty());
    assert_eq!((fixture.bench.counters.checksums_agreed, fixture.in_doubt()), (1, false));
}

#[test]
fn a_diverged_replica_serves_nothing_and_queries_all_voters() {
    let mut fixture = Fixture::new();
    let effects = fixture.checksum(OTHER);
    assert!(matches!(effects[..2], [Effect::GiveBackReads, Effect::CloseTails]));
    assert_eq!((compares(&effects), effects.len()), (vec![2, 3], 4));
    assert!(fixture.in_doubt());
    assert!(fixture.divergence.check_pending(fixture.bench.now.mono));
}

#[test]
fn a_diverged_leader_does_not_lead_until_a_majority_has_its_state() {
    let mut fixture = Fixture::new();
    fixture.bench.facts.term = Some(meridian_model::Term(1));
    let effects = fixture.checksum(OTHER);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::StopLeading)));
    let effects = fixture.compared(2, fixture.own);
    assert!(matches!(effects.as_slice(), [Effect::BeginToLead]));
    assert_eq!((fixture.bench.counters.vindications, fixture.in_doubt()), (1, false));
}

#[test]
fn the_state_of_the_majority_is_fetched_from_one_of_them() {
    let mut fixture = Fixture::new();
    fixture.checksum(OTHER);
    assert!(fixture.compared(2, OTHER).is_empty(), "one against one, and one is silent");
    assert_eq!(state_calls(&fixture.compared(3, OTHER)), [2]);
    fixture.bench.pass(PATIENCE);
    assert_eq!(state_calls(&fixture.handle(Event::Tick)), [3], "the next one, when it does not answer");
}

#[test]
fn when_no_checksum_has_most_of_the_group_the_log_is_right() {
    let mut fixture = Fixture::new();
    fixture.checksum(OTHER);
    fixture.compared(2, THIRD);
    assert_eq!(state_calls(&fixture.compared(3, OTHER)), [3]);
}

#[test]
fn silent_voters_are_queried_again() {
    let mut fixture = Fixture::new();
    fixture.checksum(OTHER);
    fixture.compared(2, OTHER);
    fixture.bench.pass(PATIENCE);
    assert_eq!(compares(&fixture.handle(Event::Tick)), [3]);
    fixture.bench.facts.snapshots.installing = true;
    fixture.bench.pass(PATIENCE);
    assert!(fixture.handle(Event::Tick).is_empty());
}

#[test]
fn a_queried_replica_answers_and_keeps_its_log_while_others_are_in_doubt() {
    let mut fixture = Fixture::new();
    let effects = fixture.compare_asked(2, OTHER);
    let [Effect::Command(Command::Send(to, PeerMessage::Answer(5, CallAnswer::Compared(_, Some(own)))))] =
        effects.as_slice()
    else {
        panic!("it answers")
    };
    assert_eq!((*to, *own), (node(2), fixture.own));
    assert!(!fixture.in_doubt(), "one that differs may be wrong itself");
    assert!(fixture.divergence.check_pending(fixture.bench.now.mono));
    fixture.bench.pass(DISPUTE);
    assert!(!fixture.divergence.check_pending(fixture.bench.now.mono));
}

#[test]
fn a_replica_doubts_itself_when_most_of_the_others_differ_in_the_same_way() {
    let mut fixture = Fixture::new();
    fixture.compare_asked(2, THIRD);
    fixture.compare_asked(3, OTHER);
    assert!(!fixture.in_doubt(), "not in the same way");
    let effects = fixture.compare_asked(2, OTHER);
    assert!(fixture.in_doubt());
    assert_eq!(state_calls(&effects), [2], "most of the group has been heard");
}

#[test]
fn a_replaced_state_ends_the_doubt() {
    let mut fixture = Fixture::new();
    fixture.checksum(OTHER);
    assert!(fixture.handle(Event::StateReplaced).is_empty());
    assert_eq!((fixture.bench.counters.heals, fixture.in_doubt()), (1, false));
}

/// Bytes that are not a manifest.
#[test]
fn only_a_snapshot_of_one_that_is_right_is_installed() {
    let mut fixture = Fixture::new();
    let offer = |from| Event::StateOffered { from: node(from), manifest: Some(b"none".to_vec()) };
    assert!(fixture.handle(offer(2)).is_empty(), "nobody asked");
    fixture.checksum(OTHER);
    fixture.compared(2, OTHER);
    fixture.compared(3, OTHER);
    assert!(fixture.handle(offer(2)).is_empty(), "it cannot be read");
}
