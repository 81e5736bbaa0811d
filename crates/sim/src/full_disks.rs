//! Full disks as the only fault: one, two or three disks of a shard have no space beyond their reserve for more than 30 s.
//!
//! Checked invariants: upserts are refused with 507 only while fewer than a quorum of the voters have space. Deletes
//! are acknowledged to the end, even with all disks full, because snapshots free the log. A full leader transfers
//! leadership to a replica with space, at most once in 30 s. The other oracles check that acknowledged writes are kept.

use meridian_model::ShardNumber;
use meridian_model::client::{Body, PointOp};
use meridian_proto::topology::DiskLevel;

use crate::clock::{MILLI, Micros, SECOND};
use crate::committed_log::Group;
use crate::faults::FaultEnd;
use crate::world::{SEGMENT_BYTES, SimEvent, World};

/// Time at which the disks are filled: the collection exists, and all clients have written.
const FILL_AT: Micros = 4 * SECOND;
/// Duration; longer than the interval between two transfers.
const FULL_FOR: Micros = 36 * SECOND;
/// End of the run: clients continue after the fault, so that renewed admission is observed.
pub const END: Micros = FILL_AT + FULL_FOR + 6 * SECOND;
/// A write within this time counts as recent.
const RECENT: Micros = 5 * SECOND;
/// Time until the leader knows a follower's free space, and a client the leader's answer.
const PROPAGATION: Micros = 3 * SECOND;
/// Time within which a full leader transfers leadership.
const HAND_OVER_WITHIN: Micros = 3 * SECOND;
/// Minimum interval between two transfers.
const HAND_OVER_INTERVAL: Micros = 30 * SECOND;

/// Observations of a run.
#[derive(Default)]
pub struct FullDisks {
    /// Filled pods, and the time.
    filled: Option<(Vec<usize>, Micros)>,
    /// Number of snapshots each of them had taken then.
    snapshots: Vec<u64>,
    /// Time since which a quorum of the voters has space.
    quorum_since: Option<Micros>,
    hand_overs: Vec<Micros>,
    /// Times of upserts refused with 507.
    refused: Vec<Micros>,
    /// Times of acknowledged upserts, and of acknowledged deletes.
    upserted: Vec<Micros>,
    deleted: Vec<Micros>,
}

fn group(world: &World) -> Group {
    (world.primary, ShardNumber::FIRST)
}

fn deletes_only(body: &Body) -> Option<bool> {
    match body {
        Body::Write { ops, .. } => Some(ops.iter().all(|op| matches!(op, PointOp::Delete { .. }))),
        _ => None,
    }
}

impl World {
    /// Fills the disks of the leader and of followers, once there is a leader.
    pub fn fill_disks(&mut self) {
        let group = group(self);
        let Some((leader, _)) = self.leader(group).filter(|_| self.now >= FILL_AT) else {
            return self.queue.push(self.now + 100 * MILLI, SimEvent::Fault);
        };
        let followers = self.pods_of(group).into_iter().filter(|pod| *pod != leader);
        let pods: Vec<usize> = std::iter::once(leader).chain(followers).take(self.plan.full_disks).collect();
        for pod in &pods {
            self.fill_disk(*pod);
        }
        self.full_disks.snapshots = pods.iter().map(|pod| self.snapshots_of(*pod)).collect();
        self.counts.faults += pods.len() as u64;
        self.full_disks.filled = Some((pods, self.now));
        self.observe_disks();
        self.queue.push(self.now + FULL_FOR, SimEvent::EndFault(FaultEnd::FullDisks));
    }

    /// Limits a disk so that half of the reserve for deletes is left.
    fn fill_disk(&mut self, pod: usize) {
        let used: u64 = self.pods[pod].disk.files().iter().map(|(_, bytes)| bytes).sum();
        let mut free_bytes = 16 * SEGMENT_BYTES;
        while self.level_of(pod) == DiskLevel::Free && free_bytes > 0 {
            free_bytes -= SEGMENT_BYTES / 4;
            self.pods[pod].disk.limit(used + free_bytes);
            self.measure(pod);
        }
        self.pods[pod].disk.limit(used + free_bytes.saturating_sub(SEGMENT_BYTES));
        self.measure(pod);
        let level = self.level_of(pod);
        self.log(|| format!("the disk of pod {pod} is full: {level:?}"));
        if level != DiskLevel::Reserve {
            self.violation(format!("the disk of pod {pod} must be at level Reserve (got {level:?})"));
        }
    }

    fn level_of(&self, pod: usize) -> DiskLevel {
        self.pods[pod].process.as_ref().map_or(DiskLevel::Free, |process| process.replica.status().disk)
    }

    fn snapshots_of(&self, pod: usize) -> u64 {
        self.pods[pod].process.as_ref().map_or(0, |process| process.replica.counters().snapshots_taken)
    }

    /// Observes whether a quorum has space.
    pub fn observe_disks(&mut self) {
        let pods = self.pods_of(group(self));
        let free = pods.iter().filter(|pod| self.level_of(**pod) == DiskLevel::Free).count();
        let since = self.full_disks.quorum_since.unwrap_or(self.now);
        self.full_disks.quorum_since = (free > pods.len() / 2).then_some(since);
    }

    pub fn record_hand_over(&mut self, pod: usize) {
        let last = self.full_disks.hand_overs.last().copied();
        if self.plan.full_disks == 0 || self.pods[pod].group() != group(self) {
            return;
        }
        if last.is_some_and(|last| self.now - last < HAND_OVER_INTERVAL) {
            self.violation(format!("leadership was transferred at {last:?} and again too soon"));
        }
        self.full_disks.hand_overs.push(self.now);
    }

    /// Records a write that was acknowledged or refused with 507.
    pub fn record_write_outcome(&mut self, body: &Body, acknowledged: bool) {
        let Some(deletes) = deletes_only(body).filter(|_| self.plan.full_disks > 0) else { return };
        match (acknowledged, deletes) {
            (true, true) => self.full_disks.deleted.push(self.now),
            (true, false) => self.full_disks.upserted.push(self.now),
            // The last segments are for votes: deletes may be refused until a snapshot has freed log segments.
            (false, true) => {}
            (false, false) => {
                self.full_disks.refused.push(self.now);
                if self.full_disks.quorum_since.is_some_and(|since| self.now - since > PROPAGATION) {
                    self.violation("an upsert was refused with 507 while a quorum has space".into());
                }
            }
        }
    }

    /// Checks at the end of the fault that everything required happened, and nothing else.
    pub fn check_full_disks(&mut self) {
        let Some((pods, filled)) = self.full_disks.filled.clone() else { return };
        let (count, now) = (pods.len(), self.now);
        let leader = self.leader(group(self)).map(|(leader, _)| leader);
        let observed = &self.full_disks;
        let is_recent = |times: &[Micros]| times.last().is_some_and(|last| now - last < RECENT);
        let mut violations = Vec::new();
        if !is_recent(&observed.deleted) {
            violations.push(format!("no delete was acknowledged in the last {} s", RECENT / SECOND));
        }
        if count == 1 && !(observed.refused.is_empty() && is_recent(&observed.upserted)) {
            violations.push(format!("one full disk of three had {} upserts refused", observed.refused.len()));
        }
        if count > 1 && !observed.refused.iter().any(|at| at - filled < HAND_OVER_WITHIN + PROPAGATION) {
            violations.push("no upsert was refused with a full majority".into());
        }
        let hand_overs = usize::from(count < 3);
        if observed.hand_overs.iter().filter(|at| **at - filled < HAND_OVER_WITHIN).count() != hand_overs {
            violations.push(format!(
                "unexpected leadership transfers at {:?}; the disks were filled at {filled}",
                observed.hand_overs
            ));
        }
        if count < 3 && leader.is_none_or(|leader| self.level_of(leader) != DiskLevel::Free) {
            violations.push(format!("pod {leader:?} is leader with a full disk"));
        }
        for (pod, before) in pods.iter().zip(&observed.snapshots) {
            if self.snapshots_of(*pod) <= *before {
                violations.push(format!("pod {pod} took no snapshot to free its log"));
            }
        }
        violations.into_iter().for_each(|violation| self.violation(format!("{count} full disks: {violation}")));
        pods.into_iter().for_each(|pod| self.end_fault(FaultEnd::Space(pod)));
    }

    /// Checks that upserts are acknowledged again.
    pub fn check_free_disks(&mut self) {
        if self.full_disks.upserted.last().is_none_or(|last| self.now - last > RECENT) {
            self.violation("no upsert was acknowledged after space was freed".into());
        }
    }
}
