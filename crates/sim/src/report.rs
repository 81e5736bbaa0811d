//! Result of a run.

use std::fmt;

/// Counters of a run, to prove that the runs exercised what they claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named for what it counts")]
pub struct Counts {
    pub operations: u64,
    pub writes_acknowledged: u64,
    /// Writes at a secondary region that were visible there when acknowledged.
    pub writes_visible: u64,
    pub reads_answered: u64,
    pub faults: u64,
    pub elections: u64,
    pub crashes: u64,
    pub torn_tails: u64,
    pub damaged_logs: u64,
    pub disk_hand_overs: u64,
    /// Processes that finished a graceful stop before they were killed.
    pub stops_finished: u64,
    pub snapshots_taken: u64,
    pub snapshot_installs: u64,
    pub membership_changes: u64,
    pub writes_repeated: u64,
    pub filtered_deletes: u64,
    pub conditional_deletes: u64,
    pub conditional_idle: u64,
    pub outcomes_unknown: u64,
    pub writes_refused: u64,
    pub duplicates_dropped: u64,
    pub gaps_healed: u64,
    pub reseeds: u64,
    pub collections_mended: u64,
    pub traces_followed: u64,
    pub divergences: u64,
    pub divergences_noticed: u64,
    pub vindications: u64,
    pub heals: u64,
    pub wrong_reads: u64,
    pub detours: u64,
    pub poisons_met: u64,
    pub broker_outages: u64,
    pub offsets_gone: u64,
    pub published_again: u64,
    pub publishing_skipped: u64,
    pub fresh: u64,
    pub waited: u64,
    pub redirected: u64,
    pub stale: u64,
    pub failed: u64,
    pub disks_filled: u64,
    pub clock_steps: u64,
    pub clock_hand_overs: u64,
    pub staleness_unknown: u64,
    pub could_be_unmarked: u64,
    pub were_unmarked: u64,
    /// Runs in which all pods changed to the next release, and all regions finalized and published its version.
    pub upgrades: u64,
    /// Pods restarted with another release.
    pub rolls: u64,
    /// Acknowledged writes that need the next version, and those that were refused because of it.
    pub next_writes: u64,
    pub next_writes_refused: u64,
    pub simulated_ms: u64,
    pub events: u64,
}

macro_rules! all {
    ($self:ident, $f:expr) => {{
        let mut f = $f;
        f("operations", $self.operations);
        f("writes acknowledged", $self.writes_acknowledged);
        f("writes visible", $self.writes_visible);
        f("reads answered", $self.reads_answered);
        f("faults", $self.faults);
        f("elections", $self.elections);
        f("crashes", $self.crashes);
        f("torn tails", $self.torn_tails);
        f("damaged logs", $self.damaged_logs);
        f("disk hand-overs", $self.disk_hand_overs);
        f("stops finished", $self.stops_finished);
        f("snapshots taken", $self.snapshots_taken);
        f("snapshot installs", $self.snapshot_installs);
        f("membership changes", $self.membership_changes);
        f("writes repeated", $self.writes_repeated);
        f("deletes by filter", $self.filtered_deletes);
        f("conditional deletes", $self.conditional_deletes);
        f("conditional deletes overtaken", $self.conditional_idle);
        f("outcomes unknown", $self.outcomes_unknown);
        f("writes refused", $self.writes_refused);
        f("duplicates dropped", $self.duplicates_dropped);
        f("gaps healed", $self.gaps_healed);
        f("re-seeds", $self.reseeds);
        f("collections mended", $self.collections_mended);
        f("traces followed", $self.traces_followed);
        f("divergences", $self.divergences);
        f("divergences noticed", $self.divergences_noticed);
        f("vindications", $self.vindications);
        f("heals", $self.heals);
        f("wrong reads before that", $self.wrong_reads);
        f("detours", $self.detours);
        f("poisons met", $self.poisons_met);
        f("broker outages", $self.broker_outages);
        f("offsets gone", $self.offsets_gone);
        f("published again", $self.published_again);
        f("publishing skipped", $self.publishing_skipped);
        f("answers fresh", $self.fresh);
        f("answers waited", $self.waited);
        f("answers redirected", $self.redirected);
        f("answers stale", $self.stale);
        f("answers failed", $self.failed);
        f("disks filled", $self.disks_filled);
        f("clock steps", $self.clock_steps);
        f("clock hand-overs", $self.clock_hand_overs);
        f("staleness unknown", $self.staleness_unknown);
        f("could be unmarked", $self.could_be_unmarked);
        f("were unmarked", $self.were_unmarked);
        f("upgrades", $self.upgrades);
        f("rolls", $self.rolls);
        f("next writes", $self.next_writes);
        f("next writes refused", $self.next_writes_refused);
        f("simulated ms", $self.simulated_ms);
        f("events", $self.events);
    }};
}

impl Counts {
    /// All counters with their names.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let mut out = Vec::new();
        all!(self, |name, count| out.push((name, count)));
        out
    }

    /// Adds the counters of another run.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &mut u64, b: u64| *a += b;
        sum(&mut self.operations, other.operations);
        sum(&mut self.writes_acknowledged, other.writes_acknowledged);
        sum(&mut self.writes_visible, other.writes_visible);
        sum(&mut self.reads_answered, other.reads_answered);
        sum(&mut self.faults, other.faults);
        sum(&mut self.elections, other.elections);
        sum(&mut self.crashes, other.crashes);
        sum(&mut self.torn_tails, other.torn_tails);
        sum(&mut self.damaged_logs, other.damaged_logs);
        sum(&mut self.disk_hand_overs, other.disk_hand_overs);
        sum(&mut self.stops_finished, other.stops_finished);
        sum(&mut self.snapshots_taken, other.snapshots_taken);
        sum(&mut self.snapshot_installs, other.snapshot_installs);
        sum(&mut self.membership_changes, other.membership_changes);
        sum(&mut self.writes_repeated, other.writes_repeated);
        sum(&mut self.filtered_deletes, other.filtered_deletes);
        sum(&mut self.conditional_deletes, other.conditional_deletes);
        sum(&mut self.conditional_idle, other.conditional_idle);
        sum(&mut self.outcomes_unknown, other.outcomes_unknown);
        sum(&mut self.writes_refused, other.writes_refused);
        sum(&mut self.duplicates_dropped, other.duplicates_dropped);
        sum(&mut self.gaps_healed, other.gaps_healed);
        sum(&mut self.reseeds, other.reseeds);
        sum(&mut self.collections_mended, other.collections_mended);
        sum(&mut self.traces_followed, other.traces_followed);
        sum(&mut self.divergences, other.divergences);
        sum(&mut self.divergences_noticed, other.divergences_noticed);
        sum(&mut self.vindications, other.vindications);
        sum(&mut self.heals, other.heals);
        sum(&mut self.wrong_reads, other.wrong_reads);
        sum(&mut self.detours, other.detours);
        sum(&mut self.poisons_met, other.poisons_met);
        sum(&mut self.broker_outages, other.broker_outages);
        sum(&mut self.offsets_gone, other.offsets_gone);
        sum(&mut self.published_again, other.published_again);
        sum(&mut self.publishing_skipped, other.publishing_skipped);
        sum(&mut self.fresh, other.fresh);
        sum(&mut self.waited, other.waited);
        sum(&mut self.redirected, other.redirected);
        sum(&mut self.stale, other.stale);
        sum(&mut self.failed, other.failed);
        sum(&mut self.disks_filled, other.disks_filled);
        sum(&mut self.clock_steps, other.clock_steps);
        sum(&mut self.clock_hand_overs, other.clock_hand_overs);
        sum(&mut self.staleness_unknown, other.staleness_unknown);
        sum(&mut self.could_be_unmarked, other.could_be_unmarked);
        sum(&mut self.were_unmarked, other.were_unmarked);
        sum(&mut self.upgrades, other.upgrades);
        sum(&mut self.rolls, other.rolls);
        sum(&mut self.next_writes, other.next_writes);
        sum(&mut self.next_writes_refused, other.next_writes_refused);
        sum(&mut self.simulated_ms, other.simulated_ms);
        sum(&mut self.events, other.events);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, count)) in self.all().into_iter().enumerate() {
            write!(f, "{}{name} {count}", if i == 0 { "" } else { " · " })?;
        }
        Ok(())
    }
}

/// Result of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Counters.
    pub counts: Counts,
    /// Hash of all events in order: equal runs have equal hashes.
    pub trace: u64,
    /// Hash of the events and commands of all machines, with call numbers replaced by their order of appearance, if
    /// [`crate::Plan::hash`] is set. It changes only with the behavior.
    pub hash: Option<u64>,
    /// Violated invariants.
    pub violations: Vec<String>,
}

impl Report {
    /// The command that replays the seed.
    #[must_use]
    pub fn replay(&self) -> String {
        format!("make sim SEEDS={}", self.seed)
    }
}
