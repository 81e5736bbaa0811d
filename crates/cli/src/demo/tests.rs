use std::collections::BTreeMap;
use std::time::Duration;

use super::context::classify;
use super::kill_leaders::longest_outage;
use super::stats::{grouped, ms, quantile};
use super::write_history::{Findings, Op, Outcome, WriteHistory};
use crate::client::RequestError;

/// Writes point 1: `u` upsert and `d` delete acknowledged; `U`, `D` with unknown outcome; `r` a refused upsert.
fn history(steps: &str) -> WriteHistory {
    let history = WriteHistory::default();
    for step in steps.chars() {
        let op = history.begin(1, step.eq_ignore_ascii_case(&'d')).unwrap();
        let outcome = match step {
            'u' | 'd' => Outcome::Acknowledged,
            'r' => Outcome::Refused,
            _ => Outcome::Unknown,
        };
        history.end(1, op, outcome);
    }
    history
}

#[track_caller]
fn check(steps: &str, held: Option<u64>, lost: usize, resolved: usize) {
    let held: BTreeMap<u64, u64> = held.map(|counter| (1, counter)).into_iter().collect();
    assert_eq!(history(steps).audit(&held), Findings { lost, resolved }, "{steps}");
}

#[test]
fn the_last_acknowledged_write_must_be_present() {
    check("uuu", Some(3), 0, 0);
    check("uuu", Some(2), 1, 0);
    check("uuu", Some(1), 2, 0);
    check("uuu", None, 3, 0);
    check("uru", Some(2), 0, 0);
    check("uuu", Some(9), 1, 0);
}

#[test]
fn a_deleted_point_must_be_gone() {
    check("uud", None, 0, 0);
    check("uud", Some(2), 1, 0);
    check("uudu", Some(4), 0, 0);
    check("uudu", None, 1, 0);
}

#[test]
fn an_unknown_outcome_may_be_either_but_hides_no_loss() {
    check("uU", Some(2), 0, 1);
    check("uU", Some(1), 0, 0);
    check("uuU", Some(1), 1, 0);
    check("uD", None, 0, 1);
    check("uD", Some(1), 0, 0);
    check("U", None, 0, 0);
    check("U", Some(1), 0, 1);
}

#[test]
fn a_point_of_unknown_state_is_not_written_again() {
    let history = history("uU");
    assert_eq!(history.begin(1, false), None);
    assert_eq!((history.acknowledged(), history.unknown()), (1, 1));
    assert_eq!(history.begin(2, true), None, "an absent point is not deleted");
    assert_eq!(history.begin(2, false), Some(Op { counter: 1, delete: false }));
    assert_eq!(history.begin(2, false), None, "one write at a time");
}

#[test]
fn only_a_200_acknowledges_and_only_certain_failures_are_refusals() {
    assert_eq!(classify(&Ok(200)), Outcome::Acknowledged);
    for unknown in [408, 500, 503, 504] {
        assert_eq!(classify(&Ok(unknown)), Outcome::Unknown);
    }
    for refused in [400, 404, 421, 429] {
        assert_eq!(classify(&Ok(refused)), Outcome::Refused);
    }
    assert_eq!(classify(&Err(RequestError::NotSent)), Outcome::Refused);
}

#[test]
fn numbers_are_formatted() {
    assert_eq!([0, 12, 999, 1000, 20_000, 1_234_567].map(grouped), ["0", "12", "999", "1,000", "20,000", "1,234,567"]);
    assert_eq!(ms(Duration::from_micros(12_340)), "12.3");
    let mut times: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
    assert_eq!(quantile(&mut times, 0.99), Duration::from_millis(99));
    assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
}

#[test]
fn an_outage_is_measured_after_the_kill_only() {
    let start = std::time::Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let times: Vec<_> = [0, 900, 1000, 1300, 1400, 9000, 9900].map(at).into();
    let longest = |kill, window| longest_outage(&times, at(kill), Duration::from_millis(window));
    assert_eq!(longest(1050, 300), Some(Duration::from_millis(300)), "the kill is inside the interval");
    assert_eq!(longest(1350, 200), Some(Duration::from_millis(7600)), "it began in the window and lasted beyond");
    assert_eq!(longest(0, 500), Some(Duration::from_millis(900)), "the longest after it is outside");
    assert_eq!(longest(9950, 100), None, "no acknowledgement follows");
}
