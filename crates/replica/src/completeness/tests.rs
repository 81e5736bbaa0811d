use meridian_model::{Epoch, Position, Seq, ShardNumber};

use super::*;
use crate::testing::Bench;

const MS: Duration = Duration::from_millis(1);

/// The statements of a leader of the primary region.
fn leader() -> (Bench, Statements) {
    let mut bench = Bench::new();
    bench.lead();
    (bench.facts.leading, bench.facts.term) = (true, Some(Term(1)));
    (bench, Statements::default())
}

fn own(bench: &Bench) -> OriginShard {
    OriginShard { region: bench.identity.genesis.region.clone(), shard: ShardNumber::FIRST }
}

fn tick(bench: &mut Bench, statements: &mut Statements, clock_trusted: bool) -> Vec<Effect> {
    bench.lend(|cx| statements.handle(cx, Event::Tick { clock_trusted }))
}

#[test]
fn a_leader_states_the_position_confirmed_by_a_quorum_after_reading_the_wall_clock() {
    let (mut bench, mut statements) = leader();
    assert!(tick(&mut bench, &mut statements, true).is_empty());
    let wall = bench.now.wall_millis();
    let (context, index) = bench.drive()[0];
    assert!(statements.is_round(context) && !statements.is_round(context + 1));
    bench.pass(7 * MS);
    let effects = bench.lend(|cx| statements.handle(cx, Event::Confirmed { index, clock_trusted: true }));
    assert!(matches!(effects.as_slice(), [Effect::ServeTails]));
    assert_eq!(statements.statement(&own(&bench)).unwrap().wall, wall);
    assert!(!statements.has_round());
}

#[test]
fn nothing_is_stated_before_the_confirmed_index_is_applied() {
    let (mut bench, mut statements) = leader();
    tick(&mut bench, &mut statements, true);
    let index = LogIndex(bench.drive()[0].1.0 + 1);
    assert!(bench.lend(|cx| statements.handle(cx, Event::Confirmed { index, clock_trusted: true })).is_empty());
    assert_eq!(statements.statement(&own(&bench)), None);
    bench.create_collection("words");
    let effects = bench.lend(|cx| statements.handle(cx, Event::Applied { clock_trusted: true }));
    assert!(matches!(effects.as_slice(), [Effect::ServeTails]));
}

#[test]
fn one_that_does_not_lead_or_whose_clock_is_wrong_states_nothing() {
    for (leading, clock_trusted) in [(false, true), (true, false)] {
        let (mut bench, mut statements) = leader();
        bench.facts.leading = leading;
        assert!(tick(&mut bench, &mut statements, clock_trusted).is_empty());
        assert!(!statements.has_round());
    }
}

#[test]
fn a_round_that_no_quorum_answers_is_begun_anew() {
    let (mut bench, mut statements) = leader();
    tick(&mut bench, &mut statements, true);
    let (first, _) = bench.drive()[0];
    bench.pass(ROUND_AGAIN_AFTER - MS);
    tick(&mut bench, &mut statements, true);
    assert!(statements.is_round(first));
    bench.pass(MS);
    tick(&mut bench, &mut statements, true);
    assert!(statements.has_round() && !statements.is_round(first));
}

#[test]
fn a_leaders_statement_counts_once_its_position_is_applied_and_ages_in_silence() {
    let mut bench = Bench::of(3);
    let (origin, mut statements) = (own(&bench), Statements::default());
    let through = Position { epoch: Epoch(1), seq: Seq(1) };
    let statement = Statement { through, term: Term(1), wall: bench.now.wall_millis() };
    let from = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(2) };
    let sent = vec![(origin.clone(), statement, Duration::ZERO)];
    let effects = bench.lend(|cx| statements.handle(cx, Event::Told { from, statements: sent }));
    assert!(matches!(effects.as_slice(), [Effect::ServeTails, Effect::RecheckReads]));
    assert_eq!(statements.statement(&origin), None);
    bench.create_collection("words");
    bench.lend(|cx| statements.handle(cx, Event::Applied { clock_trusted: false }));
    assert_eq!(statements.statement(&origin), Some(statement));
    let age = |bench: &Bench| statements.staleness(std::slice::from_ref(&origin), bench.now, &bench.settings);
    let before = age(&bench);
    bench.pass(400 * MS);
    assert_eq!(age(&bench), before + 400 * MS);
}

#[test]
fn a_leader_sends_new_statements_to_its_replicas() {
    let mut bench = Bench::of(3);
    (bench.facts.leading, bench.facts.term) = (true, Some(Term(1)));
    let (origin, mut statements) = (own(&bench), Statements::default());
    let through = bench.state.position(&origin);
    let statement = Statement { through, term: Term(1), wall: bench.now.wall_millis() };
    let heard = Event::Heard { origin, statement, at_least: Duration::ZERO };
    bench.lend(|cx| statements.handle(cx, heard));
    assert_eq!(tick(&mut bench, &mut statements, false).len(), 2, "to each of the others");
    bench.pass(20 * MS);
    assert!(tick(&mut bench, &mut statements, false).is_empty());
    bench.pass(RESEND_AFTER);
    assert_eq!(tick(&mut bench, &mut statements, false).len(), 2, "it may have been lost");
}
