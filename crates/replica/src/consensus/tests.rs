use meridian_model::ShardNumber;
use meridian_raft::{Config, Entry as RaftEntry, EntryKind, HardState, Raft, Restored};
use meridian_shard::Entry;

use super::*;
use crate::testing::Bench;

/// The part and its context.
struct Fixture {
    bench: Bench,
    consensus: Consensus,
}

impl Fixture {
    fn of(voters: u64) -> Self {
        Self { bench: Bench::of(voters), consensus: Consensus::default() }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.consensus.handle(cx, event))
    }

    /// Number of the batch passed to the disk.
    fn write(&mut self, output: Output) -> u64 {
        let effects = self.handle(Event::Output(output));
        let [Effect::Command(Command::Persist { number, .. })] = effects.as_slice() else { panic!("{effects:?}") };
        *number
    }

    fn durable(&mut self, number: u64, first: u64) -> Vec<Effect> {
        self.handle(Event::Persisted { number, first })
    }
}

/// An empty output.
fn output(number: u64) -> Output {
    Output {
        number,
        must_sync: false,
        messages: Vec::new(),
        messages_after_persist: Vec::new(),
        hard_state: None,
        snapshot: None,
        entries: Vec::new(),
        committed: Vec::new(),
        reads: Vec::new(),
        role: None,
    }
}

fn entry(index: u64) -> RaftEntry {
    RaftEntry { index, term: 1, kind: EntryKind::Payload, payload: Entry::Noop.encode().into() }
}

fn to(to: u64) -> Vec<Envelope> {
    vec![Envelope { to, message: vec![7] }]
}

/// Recipient of the message, if the effects are one message of the library.
fn sent(effects: &[Effect]) -> Option<ReplicaId> {
    match effects {
        [Effect::Command(Command::Send(node, PeerMessage::Raft(_)))] => Some(node.replica),
        _ => None,
    }
}

#[test]
fn messages_that_depend_on_records_are_sent_once_these_are_durable() {
    let mut fixture = Fixture::of(3);
    let number = fixture.write(Output { messages_after_persist: to(2), entries: vec![entry(2)], ..output(1) });
    assert!(fixture.durable(number - 1, 10).is_empty());
    assert_eq!(sent(&fixture.durable(number, 10)), Some(ReplicaId(2)));
    assert!(fixture.durable(number, 10).is_empty());
}

/// The own vote for an entry counts as those of others do.
#[test]
fn an_entry_is_committed_by_a_group_of_one_once_it_is_durable() {
    let mut fixture = Fixture::of(1);
    fixture.bench.lead();
    let proposed = fixture.bench.raft.propose(Entry::Noop.encode()).unwrap().index;
    let output = fixture.bench.raft.output().unwrap();
    let number = fixture.write(output);
    assert_eq!(fixture.bench.raft.status().commit, proposed - 1);
    assert!(fixture.bench.raft.output().is_none_or(|output| output.committed.is_empty()));
    fixture.durable(number, 10);
    assert_eq!(fixture.bench.raft.status().commit, proposed);
}

/// A duplicate append is acknowledged only once its first copy is durable.
#[test]
fn an_output_without_records_waits_for_the_batch_before_it() {
    let mut fixture = Fixture::of(3);
    let promise = |number| Output { messages_after_persist: to(number), ..output(number) };
    assert_eq!(sent(&fixture.handle(Event::Output(promise(2)))), Some(ReplicaId(2)), "nothing is being written");
    let number = fixture.write(Output { entries: vec![entry(2)], ..output(3) });
    assert!(fixture.handle(Event::Output(promise(4))).is_empty());
    assert_eq!(sent(&fixture.durable(number, 10)), Some(ReplicaId(4)));
}

#[test]
fn the_hard_state_is_written_after_the_entries() {
    let mut fixture = Fixture::of(3);
    let hard_state = Some(HardState { term: 1, vote: 1, commit: 2 });
    let effects = fixture.handle(Event::Output(Output { hard_state, entries: vec![entry(2)], ..output(1) }));
    let [Effect::Command(Command::Persist { records, .. })] = effects.as_slice() else { panic!("{effects:?}") };
    let records: Vec<_> = records.iter().map(|record| LogRecord::decode(record).unwrap()).collect();
    assert!(matches!(records.as_slice(), [LogRecord::Entry(_), LogRecord::HardState(_)]), "{records:?}");
    assert!(fixture.bench.log_bytes.since(1) > 0);
}

#[test]
fn the_oldest_fsync_is_that_of_the_first_batch() {
    let mut fixture = Fixture::of(3);
    let first = fixture.write(Output { entries: vec![entry(2)], ..output(1) });
    fixture.bench.pass(Duration::from_secs(2));
    fixture.write(Output { entries: vec![entry(3)], ..output(2) });
    let oldest = |fixture: &Fixture| fixture.consensus.oldest_fsync(fixture.bench.now.mono);
    assert_eq!(oldest(&fixture), Duration::from_secs(2));
    fixture.durable(first, 10);
    assert_eq!(oldest(&fixture), Duration::ZERO);
}

fn role(role: RaftRole, term: u64) -> Option<RoleChange> {
    Some(RoleChange { role, leader: None, term })
}

#[test]
fn a_lost_leadership_takes_effect_before_the_rest_of_the_output() {
    let mut fixture = Fixture::of(3);
    let elected = Output { role: role(RaftRole::Leader, 4), ..output(1) };
    let effects = fixture.handle(Event::Output(elected));
    assert!(matches!(effects.as_slice(), [Effect::StopLeading, Effect::Continue(_)]), "{effects:?}");
    fixture.handle(Event::TermBegun(Term(4)));
    assert_eq!(fixture.consensus.leading(), Some(Term(4)));
    let same = Output { role: role(RaftRole::Leader, 4), ..output(2) };
    assert!(fixture.handle(Event::Output(same)).is_empty());

    let role = role(RaftRole::Follower, 5);
    let lost = Output { messages: to(2), role, entries: vec![entry(2)], committed: vec![entry(2)], ..output(3) };
    let mut effects = fixture.handle(Event::Output(lost)).into_iter();
    assert!(matches!(effects.next(), Some(Effect::Command(Command::Send(..)))));
    assert!(matches!(effects.next(), Some(Effect::StopLeading)));
    assert_eq!(fixture.consensus.leading(), None);
    let Some(Effect::Continue(rest)) = effects.next() else { panic!("the rest is left out") };
    let effects = fixture.handle(Event::Continue(*rest));
    assert!(
        matches!(effects.as_slice(), [Effect::Command(Command::Persist { .. }), Effect::Apply(entries)] if entries.len() == 1)
    );
    assert_eq!(fixture.bench.counters.elections_won, 1);
}

#[test]
fn a_leader_begins_to_lead_once_its_first_entry_is_applied() {
    let mut fixture = Fixture::of(3);
    fixture.handle(Event::Output(Output { role: role(RaftRole::Leader, 4), ..output(1) }));
    assert!(fixture.consensus.begins(Term(4)) && !fixture.consensus.begins(Term(3)));
    fixture.bench.facts.in_doubt = true;
    assert!(matches!(fixture.handle(Event::TermBegun(Term(4))).as_slice(), [Effect::TermBegun]));
    assert!(!fixture.consensus.begins(Term(4)));
    fixture.bench.facts.in_doubt = false;
    let effects = fixture.handle(Event::BackInService);
    assert!(
        matches!(effects.as_slice(), [Effect::Announce, Effect::FollowLinks, Effect::Command(Command::Leads(true))]),
        "{effects:?}"
    );
    fixture.handle(Event::OutOfService);
    assert!(fixture.handle(Event::BackInService).is_empty());
}

#[test]
fn a_replica_is_caught_up_once_the_confirmed_index_is_applied() {
    let mut fixture = Fixture::of(1);
    fixture.bench.lead();
    fixture.bench.now.mono = Duration::ZERO;
    assert!(fixture.handle(Event::Tick).is_empty());
    let (context, index) = fixture.bench.drive()[0];
    let ahead = index.0 + 1;
    let reads = vec![(context, ahead), (context + 1, 1)];
    let effects = fixture.handle(Event::Output(Output { reads, ..output(9) }));
    let [Effect::ReadIndexConfirmed { context: other, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*other, context + 1, "the own probe is answered");
    assert!(fixture.handle(Event::Tick).is_empty());
    assert!(!fixture.consensus.is_caught_up());
    fixture.bench.state.apply(LogIndex(ahead), &Entry::Noop);
    assert!(matches!(fixture.handle(Event::Tick).as_slice(), [Effect::CaughtUp]));
    assert!(fixture.consensus.is_caught_up());
    assert!(fixture.handle(Event::Tick).is_empty());
}

#[test]
fn the_log_is_released_once_its_new_beginning_is_durable() {
    let mut fixture = Fixture::of(1);
    fixture.bench.lead();
    fixture.bench.commit(10);
    let last = fixture.bench.state.applied().0;
    let entries: Vec<RaftEntry> = (last - 9..=last).map(entry).collect();
    let number = fixture.write(Output { entries, ..output(100) });
    fixture.durable(number, 200);
    let effects = fixture.handle(Event::Compact { keep_from: last - 4 });
    let [Effect::ForgetLogBefore(first), Effect::Command(Command::Persist { number, records })] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((first.0, records.len()), (last - 4, 2));
    let number = *number;
    let effects = fixture.durable(number, 300);
    let [Effect::Command(Command::Release { before, shrink })] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((*before, *shrink), (205, false));
    assert!(fixture.handle(Event::Compact { keep_from: last - 4 }).is_empty(), "it is released already");
}

#[test]
fn a_message_of_another_shard_or_with_entries_that_are_dropped_changes_nothing() {
    let mut candidate = Raft::new(Config::new(2, 1), Restored::bootstrap(1..=2)).unwrap();
    candidate.campaign();
    let output = candidate.output().unwrap();
    let request = output.messages.into_iter().chain(output.messages_after_persist).next().unwrap().message;
    let from = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(2) };
    let other = NodeId { shard: ShardNumber::all(2).last().unwrap(), ..from };
    for (from, out_of_service, is_taken) in [(other, false, false), (from, true, false), (from, false, true)] {
        let mut fixture = Fixture::of(2);
        fixture.bench.facts.out_of_service = out_of_service;
        let event = Event::Message { from, bytes: request.clone(), drops_appends: true };
        assert!(fixture.handle(event).is_empty());
        // The message carries no entries: votes are granted also without space.
        let output = fixture.bench.raft.output();
        let is_answered = output.is_some_and(|output| output.messages.len() + output.messages_after_persist.len() > 0);
        assert_eq!(is_answered, is_taken, "{from:?}, {out_of_service}");
    }
}
