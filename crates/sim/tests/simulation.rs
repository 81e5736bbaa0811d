//! All seeds pass, equal seeds give equal runs, and injected bugs are caught.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use meridian_sim::{Counts, InjectedBug, Plan, Report, run};

/// Number of seeds within which a bug must be caught.
const MAX_SEEDS: u64 = 400;

/// Number of seeds of the default run.
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
fn all_seeds_pass() {
    let reports = run_all(seeds());
    let mut total = Counts::default();
    let mut failures = String::new();
    for report in &reports {
        total.add(&report.counts);
        if !report.violations.is_empty() {
            failures += &format!("\nseed {}, again by `{}`: {:#?}", report.seed, report.replay(), report.violations);
        }
        assert!(report.counts.operations >= 2_000 || !report.violations.is_empty(), "{}", report.replay());
        assert!(report.counts.faults >= 20 || !report.violations.is_empty(), "{}", report.replay());
    }
    println!("sim: seeds {} · {total}", reports.len());
    assert!(failures.is_empty(), "{failures}");
    // Fewer seeds need not have exercised everything.
    if reports.len() >= 100 {
        let missing: Vec<_> = total.all().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        let (possible, actual) = (total.could_be_unmarked, total.were_unmarked);
        assert!(actual * 100 >= possible * 95, "{actual} of {possible} answers that could be unmarked are");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [2, 7] {
        let plan = Plan { hash: true, ..Plan::default() };
        let (one, other) = (run(seed, plan), run(seed, plan));
        assert_eq!(one, other);
        assert!(one.hash.is_some());
        assert_ne!(one.trace, run(seed + 1, Plan::default()).trace);
    }
}

fn check_caught(bug: InjectedBug) {
    let plan = Plan { injected_bug: Some(bug), ..Plan::default() };
    let caught = (0..MAX_SEEDS).map(|seed| run(seed, plan)).find(|report| !report.violations.is_empty());
    let report = caught.unwrap_or_else(|| panic!("{bug:?} was not caught in {MAX_SEEDS} seeds"));
    println!("{bug:?} is caught by seed {}: {}", report.seed, report.violations[0]);
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
fn a_trusted_clock_step_is_caught() {
    check_caught(InjectedBug::BelieveSteps);
}

#[test]
fn an_unnoticed_boot_clock_suspension_is_caught() {
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
fn a_replica_that_serves_known_divergence_is_caught() {
    check_caught(InjectedBug::ServeDivergence);
}

#[test]
fn a_write_reported_visible_too_early_is_caught() {
    check_caught(InjectedBug::VisibleTooEarly);
}

#[test]
fn a_delete_by_filter_of_points_that_no_longer_match_is_caught() {
    check_caught(InjectedBug::DeleteUnconditionally);
}

#[test]
fn a_refused_write_that_takes_effect_is_caught() {
    check_caught(InjectedBug::RefuseUnknown);
}

#[test]
fn a_version_finalized_before_every_member_knows_it_is_caught() {
    check_caught(InjectedBug::FinalizeUnchecked);
}

#[test]
fn a_write_that_other_regions_have_not_finalized_is_caught() {
    check_caught(InjectedBug::PublishUnchecked);
}

/// PROTOCOLS 12: the writes accepted by a shard with one, two or three full disks.
#[test]
fn full_disks_refuse_upserts_without_a_quorum_and_accept_deletes() {
    for full_disks in 1..=3 {
        // The primary region has one shard there.
        for seed in [0, 4] {
            let report = run(seed, Plan { full_disks, ..Plan::default() });
            assert!(report.violations.is_empty(), "{full_disks} full disks, seed {seed}: {:#?}", report.violations);
        }
    }
}
