use meridian_model::VersionVector;
use meridian_proto::frame::PartBody;

use super::*;
use crate::effect::Effect;
use crate::testing::Bench;

const MS: Duration = Duration::from_millis(1);

/// The reads of a leader, with their context.
struct Fixture {
    bench: Bench,
    reads: Reads,
    /// Staleness, which the machine computes.
    staleness: Duration,
}

impl Fixture {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.lead();
        Self { bench, reads: Reads::default(), staleness: 10 * MS }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.reads.handle(cx, event))
    }

    fn call(&mut self, from: u64, demand: ReadDemand) -> Vec<Effect> {
        let call = ReadCall::new(Requester::Own(from), ReadWhat::List, demand, self.bench.now);
        self.handle(Event::Call { call, staleness: self.staleness })
    }

    fn recheck(&mut self) -> Vec<Effect> {
        self.handle(Event::StateMoved { staleness: self.staleness })
    }

    fn tick(&mut self) -> Vec<Effect> {
        self.handle(Event::Tick { staleness: self.staleness })
    }

    /// Confirms all ReadIndex requests; returns the effects.
    fn confirm(&mut self) -> Vec<Effect> {
        assert!(self.handle(Event::AskQuorum).is_empty());
        let confirmed = self.bench.drive();
        let staleness = self.staleness;
        let events = confirmed.into_iter().map(|(context, index)| Event::Confirmed { context, index, staleness });
        events.flat_map(|event| self.handle(event)).collect()
    }
}

/// A read without confirmation by a quorum.
fn eventual() -> ReadDemand {
    ReadDemand { left: 1_000 * MS, ..ReadDemand::default() }
}

fn linearizable() -> ReadDemand {
    ReadDemand { index: true, ..eventual() }
}

/// A read with a maximum age and a maximum wait.
fn fresh(max_age: Duration, wait: Duration) -> ReadDemand {
    ReadDemand { max_age: Some(max_age), wait, ..eventual() }
}

fn result() -> ReadResult {
    ReadResult { body: Some(PartBody::Collections(Vec::new())), covers: VersionVector::default() }
}

/// The jobs passed to the shell.
fn jobs(effects: &[Effect]) -> Vec<u64> {
    let job = |effect: &Effect| match effect {
        Effect::Command(Command::Read { job, .. }) => Some(*job),
        _ => None,
    };
    effects.iter().filter_map(job).collect()
}

fn answers(effects: &[Effect]) -> Vec<(Requester, &ShardAnswer)> {
    fn answer(effect: &Effect) -> Option<(Requester, &ShardAnswer)> {
        match effect {
            Effect::Answer(to, answer) => Some((*to, answer)),
            _ => None,
        }
    }
    effects.iter().filter_map(answer).collect()
}

#[test]
fn a_read_that_demands_nothing_is_handed_to_the_shell_at_once() {
    let mut fixture = Fixture::new();
    let deadline = fixture.bench.now.mono + 1_000 * MS;
    let effects = fixture.call(1, eventual());
    let [Effect::Command(Command::Read { what: ReadWhat::List, deadline: passed, .. })] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*passed, deadline);
    assert!(!fixture.reads.is_idle());
}

#[test]
fn a_repeated_call_is_not_started_again() {
    let mut fixture = Fixture::new();
    assert_eq!(jobs(&fixture.call(1, eventual())).len(), 1);
    assert!(fixture.call(1, eventual()).is_empty());
    assert_eq!(jobs(&fixture.call(2, eventual())).len(), 1);
}

#[test]
fn one_question_to_the_quorum_serves_all_reads_that_wait() {
    let mut fixture = Fixture::new();
    assert!(fixture.call(1, linearizable()).is_empty());
    assert!(fixture.call(2, linearizable()).is_empty());
    assert!(fixture.reads.wants_quorum());
    let effects = fixture.confirm();
    assert_eq!((jobs(&effects).len(), effects.len()), (2, 2), "{effects:?}");
    assert!(!fixture.reads.wants_quorum());
}

#[test]
fn a_read_waits_until_the_confirmed_index_is_applied() {
    let mut fixture = Fixture::new();
    fixture.call(1, linearizable());
    fixture.handle(Event::AskQuorum);
    let (context, index) = fixture.bench.drive()[0];
    let (ahead, staleness) = (LogIndex(index.0 + 1), fixture.staleness);
    assert!(fixture.handle(Event::Confirmed { context, index: ahead, staleness }).is_empty());
    assert!(fixture.reads.waits_for_state());
    assert!(fixture.recheck().is_empty());
    fixture.bench.create_collection("words");
    assert_eq!(jobs(&fixture.recheck()).len(), 1);
}

#[test]
fn a_replica_out_of_service_requests_no_read_index() {
    let mut fixture = Fixture::new();
    fixture.call(1, linearizable());
    fixture.bench.facts.out_of_service = true;
    assert!(fixture.handle(Event::AskQuorum).is_empty());
    assert!(fixture.reads.wants_quorum());
}

#[test]
fn an_unanswered_read_index_is_repeated_and_late_reads_are_returned() {
    let mut fixture = Fixture::new();
    fixture.call(1, linearizable());
    fixture.handle(Event::AskQuorum);
    fixture.bench.pass(ASK_AGAIN_AFTER);
    assert!(fixture.tick().is_empty());
    assert!(fixture.reads.wants_quorum(), "it is to be asked under a new number");
    fixture.bench.pass(INDEX_PATIENCE - ASK_AGAIN_AFTER);
    let effects = fixture.tick();
    let [(Requester::Own(1), ShardAnswer::Busy(why))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(why, "no quorum of the shard answers");
    assert!(!fixture.reads.wants_quorum());
}

#[test]
fn a_read_waits_for_freshness_as_long_as_it_may() {
    let mut fixture = Fixture::new();
    fixture.staleness = 60 * MS;
    assert!(fixture.call(1, fresh(50 * MS, 20 * MS)).is_empty(), "10 ms more may be enough");
    fixture.staleness = 5 * MS;
    let job = jobs(&fixture.recheck())[0];
    let effects = fixture.handle(Event::Done { job, result: result() });
    let [(_, ShardAnswer::Part(part))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert!(part.kept && part.waited);

    fixture.staleness = 60 * MS;
    fixture.call(2, fresh(50 * MS, 20 * MS));
    fixture.bench.pass(20 * MS);
    fixture.staleness = 90 * MS;
    let job = jobs(&fixture.tick())[0];
    let effects = fixture.handle(Event::Done { job, result: result() });
    let [(_, ShardAnswer::Part(part))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert!(!part.kept && part.waited, "its wait is over");
}

#[test]
fn a_wait_that_cannot_succeed_is_skipped() {
    let mut fixture = Fixture::new();
    fixture.staleness = 80 * MS;
    let job = jobs(&fixture.call(1, fresh(50 * MS, 20 * MS)))[0];
    fixture.bench.pass(3 * MS);
    let effects = fixture.handle(Event::Done { job, result: result() });
    let [(_, ShardAnswer::Part(part))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert!(!part.kept && !part.waited);
    assert_eq!((part.age, part.took), (83 * MS, 3 * MS), "it has grown older while it was read");
}

/// Data confirmed by a quorum of its own region is as old as the request, regardless of wall clocks.
#[test]
fn a_confirmed_read_of_the_primary_region_is_as_old_as_its_question() {
    let mut fixture = Fixture::new();
    fixture.staleness = Duration::MAX;
    fixture.call(1, ReadDemand { index: true, ..fresh(50 * MS, Duration::ZERO) });
    fixture.handle(Event::AskQuorum);
    let (context, index) = fixture.bench.drive()[0];
    fixture.bench.pass(7 * MS);
    let effects = fixture.handle(Event::Confirmed { context, index, staleness: Duration::MAX });
    let effects = fixture.handle(Event::Done { job: jobs(&effects)[0], result: result() });
    let [(_, ShardAnswer::Part(part))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((part.kept, part.age), (true, 7 * MS));
}

#[test]
fn a_cancelled_read_is_ended_where_it_is() {
    let mut fixture = Fixture::new();
    let job = jobs(&fixture.call(1, eventual()))[0];
    let effects = fixture.handle(Event::Cancel(Requester::Own(1)));
    assert!(matches!(effects.as_slice(), [Effect::Command(Command::CancelRead { job: ended })] if *ended == job));
    assert!(
        fixture.handle(Event::Done { job, result: result() }).is_empty(),
        "an answer that comes too late is dropped"
    );
    fixture.call(2, linearizable());
    assert!(fixture.handle(Event::Cancel(Requester::Own(2))).is_empty());
    assert!(fixture.confirm().is_empty());
    assert_eq!(fixture.reads.under_way(), 0);
}

#[test]
fn a_read_that_the_threads_refuse_is_refused() {
    let mut fixture = Fixture::new();
    let job = jobs(&fixture.call(1, eventual()))[0];
    let effects = fixture.handle(Event::Refused { job, why: "9 searches wait".into() });
    assert!(
        matches!(answers(&effects)[..], [(Requester::Own(1), ShardAnswer::Overloaded(why))] if why == "9 searches wait")
    );
    assert!(fixture.reads.is_idle());
}

#[test]
fn reads_that_cannot_be_trusted_are_given_back() {
    let mut fixture = Fixture::new();
    let job = jobs(&fixture.call(1, eventual()))[0];
    fixture.call(2, linearizable());
    let effects = fixture.handle(Event::GiveBack("in doubt"));
    assert!(matches!(effects[0], Effect::Command(Command::CancelRead { job: ended }) if ended == job));
    let busy = |(_, answer): &(Requester, &ShardAnswer)| matches!(answer, ShardAnswer::Busy(why) if why == "in doubt");
    assert_eq!(answers(&effects).iter().filter(|answer| busy(answer)).count(), 2);
    assert!(fixture.reads.is_idle());
}

#[test]
fn an_expired_read_gets_no_answer() {
    let mut fixture = Fixture::new();
    let job = jobs(&fixture.call(1, eventual()))[0];
    fixture.bench.pass(1_000 * MS);
    assert!(fixture.tick().is_empty());
    assert!(fixture.handle(Event::Done { job, result: result() }).is_empty());
    assert!(fixture.reads.is_idle());
}

#[test]
fn more_reads_than_a_replica_takes_are_refused() {
    let mut fixture = Fixture::new();
    for from in 0..READS_WAITING as u64 {
        fixture.call(from, linearizable());
    }
    let effects = fixture.call(u64::MAX, linearizable());
    assert!(matches!(answers(&effects)[..], [(Requester::Own(u64::MAX), ShardAnswer::Overloaded(_))]));
}
