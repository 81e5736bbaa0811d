//! Injected state divergence: all points of one replica get a payload unique to that injection, so that every read that
//! sees it can be attributed.

use meridian_model::Payload;
use meridian_replica::Replica;

use crate::clock::{MILLI, Micros};
use crate::committed_log::{Group, value_of};
use crate::faults::FaultEnd;
use crate::world::{CHECKSUM_EVERY, SimEvent, World};

/// Values from here on are injected; no client writes them.
const FIRST: u64 = 1 << 40;
/// Distance to the next checksum, in entries, within which a divergence is injected.
const ENTRIES_BEFORE_CHECKSUM: u64 = 12;
/// Attempts to find such a moment.
const MAX_ATTEMPTS: u32 = 400;

/// An injected divergence.
struct Divergence {
    pod: usize,
    group: Group,
    injected_at: Micros,
    /// Time at which its replica detected it.
    detected_at: Option<Micros>,
}

/// All injected divergences.
#[derive(Default)]
pub struct Divergences(Vec<Divergence>);

impl Divergences {
    /// Whether a value is injected.
    #[must_use]
    pub fn is_injected(value: u64) -> bool {
        value >= FIRST
    }

    /// Whether any replica of the group ever diverged.
    #[must_use]
    pub fn touched(&self, group: Group) -> bool {
        self.0.iter().any(|divergence| divergence.group == group)
    }

    /// Time of the first divergence in a region.
    #[must_use]
    pub fn first_of(&self, region: usize) -> Option<Micros> {
        self.0.iter().filter(|divergence| divergence.group.0 == region).map(|divergence| divergence.injected_at).min()
    }

    /// Injected values in a replica's state.
    #[must_use]
    pub fn held_by(&self, replica: &Replica) -> Option<Vec<u64>> {
        if self.0.is_empty() {
            return None;
        }
        let state = replica.state();
        let values: Vec<u64> =
            state.payloads().filter_map(value_of).filter(|value| Self::is_injected(*value)).collect();
        (!values.is_empty()).then_some(values)
    }
}

impl World {
    /// Schedules a divergence shortly before a checksum.
    pub fn schedule_divergence(&mut self) -> Option<Micros> {
        let pod = self.pick_expendable_pod()?;
        self.queue.push(self.now + 1, SimEvent::EndFault(FaultEnd::Diverge { pod, attempts: 0 }));
        Some(3_000 * MILLI)
    }

    /// Injects a divergence if the moment is right, else retries a little later.
    pub fn diverge(&mut self, pod: usize, attempts: u32) {
        let group = self.pods[pod].group();
        if self.faults_stopped || attempts > MAX_ATTEMPTS || !self.is_whole(group) {
            return;
        }
        // No checksum covers seed pages, so a diverged leader of the primary region would spread its state.
        let serves_seeds = group.0 == self.primary && self.leader(group).is_some_and(|(leader, _)| leader == pod);
        let is_only_divergence = self.has_no_divergence(group);
        let Some(process) = &mut self.pods[pod].process else { return };
        let applied = process.replica.state().applied().0;
        let is_checksum_near = applied % CHECKSUM_EVERY >= CHECKSUM_EVERY.get() - ENTRIES_BEFORE_CHECKSUM;
        if !is_checksum_near || serves_seeds || !is_only_divergence || !process.replica.is_ready() {
            let retry = SimEvent::EndFault(FaultEnd::Diverge { pod, attempts: attempts + 1 });
            return self.queue.push(self.now + 5 * MILLI, retry);
        }
        let value = FIRST + self.divergences.0.len() as u64;
        process.replica.diverge(&Payload(format!("{{\"n\":{value}}}").into()));
        self.divergences.0.push(Divergence { pod, group, injected_at: self.now, detected_at: None });
        self.counts.divergences += 1;
        self.log(|| format!("pod {pod} diverges by {value}, applied {applied}"));
    }

    /// Whether no replica of the group is diverged. Otherwise the group cannot spare another: a joining replica trusts
    /// the leader's state.
    pub fn has_no_divergence(&self, group: Group) -> bool {
        self.pods_of(group).into_iter().all(|pod| {
            let replica = self.pods[pod].process.as_ref().map(|process| &process.replica);
            replica.is_none_or(|replica| self.divergences.held_by(replica).is_none())
        })
    }

    /// Records that a replica detected its divergence.
    pub fn record_detection(&mut self, pod: usize) {
        if !self.divergences.0.iter().any(|divergence| divergence.pod == pod && divergence.detected_at.is_none()) {
            return;
        }
        let Some(process) = &self.pods[pod].process else { return };
        if !process.replica.is_doubted() {
            return;
        }
        let (now, held) = (self.now, self.divergences.held_by(&process.replica).unwrap_or_default());
        for (number, divergence) in self.divergences.0.iter_mut().enumerate() {
            if divergence.pod == pod && held.contains(&(FIRST + number as u64)) {
                divergence.detected_at.get_or_insert(now);
            }
        }
    }

    /// Checks a read of an injected value: it is a violation if the replica had detected the divergence before.
    pub fn check_wrong_read(&mut self, value: u64, invoked: Micros, about: &str) {
        self.counts.wrong_reads += 1;
        let detected_at =
            self.divergences.0.get((value - FIRST) as usize).and_then(|divergence| divergence.detected_at);
        if detected_at.is_some_and(|detected_at| detected_at < invoked) {
            self.violation(format!("{value} was served after its replica had detected the divergence: {about}"));
        }
    }
}
