use super::*;
use crate::{RegionName, ShardNumber};

const BOUND: Duration = Duration::from_millis(10);
const AGE: Duration = Duration::from_secs(1_000);

fn origin(shard: u16) -> OriginShard {
    OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::new(shard).unwrap() }
}

fn at(seq: u64) -> Position {
    Position { epoch: Epoch(1), seq: Seq(seq) }
}

fn statement(seq: u64, term: u64, wall: u64) -> Statement {
    Statement { through: at(seq), term: Term(term), wall: WallMillis(wall) }
}

/// The clock of ages runs with the wall clock, from [`AGE`] at 0 ms.
fn moment(millis: u64) -> Moment {
    let wall = Duration::from_millis(millis);
    Moment { age: AGE + wall, wall }
}

/// Statements of shard 1: what is applied, what is stated, and when it arrives.
fn heard(all: &[(u64, Statement, u64)]) -> Completeness {
    let mut held = Completeness::default();
    for (applied, statement, millis) in all {
        held.hear(&origin(1), *statement, at(*applied), moment(*millis), BOUND, Duration::ZERO);
    }
    held
}

fn check(held: &Completeness, millis: u64, expected: Option<u64>) {
    let expected = expected.map_or(Duration::MAX, Duration::from_millis);
    assert_eq!(held.staleness(&[origin(1)], moment(millis).age), expected);
}

#[test]
fn a_statement_is_as_old_as_its_wall_time_and_grows_older_in_silence() {
    let held = heard(&[(5, statement(5, 1, 900), 930)]);
    check(&held, 930, Some(40));
    check(&held, 3_600_930, Some(3_600_040));
}

#[test]
fn an_origin_never_heard_of_is_unknown_and_the_oldest_decides() {
    let mut held = heard(&[(5, statement(5, 1, 900), 1_000)]);
    assert_eq!(held.staleness(&[origin(1), origin(2)], moment(1_000).age), Duration::MAX);
    held.hear(&origin(2), statement(1, 1, 950), at(1), moment(1_000), BOUND, Duration::ZERO);
    assert_eq!(held.staleness(&[origin(1), origin(2)], moment(1_000).age), Duration::from_millis(110));
    assert_eq!(held.staleness(&[], moment(1_000).age), Duration::ZERO);
}

#[test]
fn a_statement_counts_only_when_its_position_is_applied() {
    let mut held = heard(&[(4, statement(4, 1, 900), 910), (4, statement(6, 1, 950), 960)]);
    check(&held, 960, Some(70));
    held.applied(&origin(1), at(5));
    check(&held, 960, Some(70));
    held.applied(&origin(1), at(6));
    check(&held, 960, Some(20));
}

#[test]
fn under_steady_writes_older_statements_stay_until_their_turn() {
    let mut held = Completeness::default();
    for seq in 1..=200 {
        held.hear(&origin(1), statement(seq, 1, seq), at(0), moment(seq), BOUND, Duration::ZERO);
    }
    held.applied(&origin(1), at(WAITING as u64 - 1));
    assert_eq!(held.statement(&origin(1)), Some(statement(WAITING as u64 - 1, 1, WAITING as u64 - 1)));
    held.applied(&origin(1), at(200));
    assert_eq!(held.statement(&origin(1)), Some(statement(200, 1, 200)), "the newest replaced the one before it");
}

#[test]
fn the_newest_statement_counts_and_not_the_largest_wall_time() {
    // The clock of the leader was 8 ms ahead and was set back.
    check(&heard(&[(5, statement(5, 1, 1_008), 1_000), (5, statement(5, 1, 990), 1_000)]), 1_000, Some(20));
    // One that overtook: the later leader knows more.
    check(&heard(&[(5, statement(5, 2, 990), 1_000), (5, statement(5, 1, 999), 1_000)]), 1_000, Some(20));
    check(&heard(&[(5, statement(5, 1, 990), 1_000), (5, statement(4, 1, 999), 1_000)]), 1_000, Some(20));
}

#[test]
fn a_statement_from_the_future_makes_its_origin_unknown() {
    check(&heard(&[(5, statement(5, 1, 1_010), 1_000)]), 1_000, Some(10));
    let mut held = heard(&[(5, statement(5, 1, 1_000), 1_000), (5, statement(5, 1, 1_011), 1_000)]);
    check(&held, 1_000, None);
    held.hear(&origin(1), statement(5, 1, 1_000), at(5), moment(1_020), BOUND, Duration::ZERO);
    check(&held, 1_020, Some(30));
}

#[test]
fn a_wall_clock_that_is_set_back_makes_nothing_younger() {
    let mut held = heard(&[(5, statement(5, 1, 1_000), 1_000)]);
    let back = Moment { age: AGE + Duration::from_secs(61), wall: Duration::from_secs(1) };
    held.hear(&origin(1), statement(5, 1, 1_000), at(5), back, BOUND, Duration::ZERO);
    assert_eq!(held.staleness(&[origin(1)], back.age), Duration::from_millis(60_010));
}

#[test]
fn a_statement_that_is_passed_on_is_as_old_as_whoever_held_it_says() {
    let mut held = Completeness::default();
    // Made at 1,000 and passed on a second later, when all clocks had stepped back by a second.
    let at_least = Duration::from_millis(1_020);
    held.hear(&origin(1), statement(5, 1, 1_000), at(5), moment(1_005), BOUND, at_least);
    assert_eq!(held.staleness(&[origin(1)], moment(1_005).age), at_least);
}
