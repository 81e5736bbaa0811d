//! Seeds hold, equal seeds run equally, and injected bugs are caught.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use meridian_sim::{Counts, InjectedBug, Plan, Report, run};

/// Seeds that a bug may take to be caught.
const PATIENCE: u64 = 400;

/// How many seeds the default run takes.
fn seeds() -> u64 {
    std::env::var("MERIDIAN_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Runs seeds on two threads.
fn run_all(seeds: u64) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let report = run(seed, Plan::default());
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    reports.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn seeds_hold() {
    let reports = run_all(seeds());
    let mut total = Counts::default();
    let mut failures = String::new();
    for report in &reports {
        total.add(&report.counts);
        if !report.faults.is_empty() {
            failures += &format!("\nseed {}, again by `{}`: {:#?}", report.seed, report.replay(), report.faults);
        }
        assert!(report.counts.operations >= 2_000 || !report.faults.is_empty(), "{}", report.replay());
        assert!(report.counts.faults >= 20 || !report.faults.is_empty(), "{}", report.replay());
    }
    println!("sim: seeds {} · {total}", reports.len());
    assert!(failures.is_empty(), "{failures}");
    // Fewer seeds need not have met everything.
    if reports.len() >= 100 {
        let missing: Vec<_> = total.all().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        let (could, were) = (total.could_be_unmarked, total.were_unmarked);
        assert!(were * 100 >= could * 95, "{were} of {could} answers that could be unmarked are");
    }
}

#[test]
fn equal_seeds_run_equally() {
    for seed in [2, 7] {
        let (one, other) = (run(seed, Plan::default()), run(seed, Plan::default()));
        assert_eq!(one, other);
        assert_ne!(one.trace, run(seed + 1, Plan::default()).trace);
    }
}

fn check_caught(bug: InjectedBug) {
    let plan = Plan { injected_bug: Some(bug), ..Plan::default() };
    let caught = (0..PATIENCE).map(|seed| run(seed, plan)).find(|report| !report.faults.is_empty());
    let report = caught.unwrap_or_else(|| panic!("{bug:?} passed {PATIENCE} seeds"));
    println!("{bug:?} is caught by seed {}: {}", report.seed, report.faults[0]);
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    check_caught(InjectedBug::AckBeforeFsync);
}

#[test]
fn a_skipped_version_vector_check_is_caught() {
    check_caught(InjectedBug::SkipVvCheck);
}

#[test]
fn an_accepted_gap_is_caught() {
    check_caught(InjectedBug::AcceptGap);
}

#[test]
fn a_statement_without_proof_of_leadership_is_caught() {
    check_caught(InjectedBug::StateUnproven);
}

#[test]
fn a_statement_that_counts_before_its_position_is_applied_is_caught() {
    check_caught(InjectedBug::CountUnapplied);
}

#[test]
fn a_step_of_a_clock_that_is_believed_is_caught() {
    check_caught(InjectedBug::BelieveSteps);
}

#[test]
fn a_boot_clock_that_stood_still_unnoticed_is_caught() {
    check_caught(InjectedBug::ForgetStandstill);
}

#[test]
fn ages_by_the_wall_clock_are_caught() {
    check_caught(InjectedBug::AgeByWall);
}

#[test]
fn a_strong_read_without_a_quorum_is_caught() {
    check_caught(InjectedBug::ReadWithoutIndex);
}

#[test]
fn a_vote_after_a_lost_log_is_caught() {
    check_caught(InjectedBug::VoteAfterLogLoss);
}

#[test]
fn an_unmarked_stale_answer_is_caught() {
    check_caught(InjectedBug::UnmarkedStale);
}

#[test]
fn an_accepted_checksum_error_is_caught() {
    check_caught(InjectedBug::AcceptLogDamage);
}

#[test]
fn a_replica_that_serves_what_it_knows_to_be_wrong_is_caught() {
    check_caught(InjectedBug::ServeDivergence);
}

#[test]
fn a_write_that_is_called_visible_too_early_is_caught() {
    check_caught(InjectedBug::VisibleTooEarly);
}

#[test]
fn a_delete_by_filter_of_what_no_longer_matches_is_caught() {
    check_caught(InjectedBug::DeleteUnconditionally);
}

#[test]
fn a_write_that_is_refused_and_takes_place_is_caught() {
    check_caught(InjectedBug::RefuseUnknown);
}

/// PROTOCOLS 12: what a shard with one, two or three full disks takes and refuses.
#[test]
fn full_disks_refuse_upserts_without_a_quorum_and_take_deletes() {
    for full_disks in 1..=3 {
        // The primary region has one shard there.
        for seed in [0, 4] {
            let report = run(seed, Plan { full_disks, ..Plan::default() });
            assert!(report.faults.is_empty(), "{full_disks} full disks, seed {seed}: {:#?}", report.faults);
        }
    }
}
