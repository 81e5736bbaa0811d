//! Full disks and no other fault: one, two or all three of the disks of a shard have no space beyond their reserve for more
//! than half a minute.
//!
//! Checked: upserts are refused with 507 only while fewer than a quorum of the voters have space; deletes are acknowledged to
//! the end, also when all disks are full, because snapshots let go of the log that they use up; a full leader hands over to a
//! replica with space, and not twice within 30 s. That what was acknowledged is kept, the other oracles check.

use meridian_model::ShardNumber;
use meridian_model::client::{Body, PointOp};
use meridian_proto::topology::DiskLevel;

use crate::clock::{MILLI, Micros, SECOND};
use crate::faults::Healing;
use crate::ledger::Group;
use crate::world::{SEGMENT_BYTES, What, World};

/// The disks are filled then: the collection is there, and everybody has written.
const BEGIN: Micros = 4 * SECOND;
/// Longer than the time between two hand-overs.
const LASTING: Micros = 36 * SECOND;
/// Clients go on after it, so that what is admitted again is seen.
pub const END: Micros = BEGIN + LASTING + 6 * SECOND;
/// Before its end, deletes must still be acknowledged.
const LATE: Micros = 5 * SECOND;
/// A leader hears of a disk's space within so long, and a client of the leader's answer.
const NEWS: Micros = 3 * SECOND;
/// A full leader has handed over by then.
const HAND_OVER: Micros = 3 * SECOND;
/// Between two hand-overs.
const HAND_OVER_EVERY: Micros = 30 * SECOND;

/// What was seen of a run.
#[derive(Default)]
pub struct FullDisks {
    /// Those that were filled, and when.
    filled: Option<(Vec<usize>, Micros)>,
    /// Snapshots that each had taken by then.
    snapshots: Vec<u64>,
    /// Since when a quorum of the voters has space, if it has.
    quorum_since: Option<Micros>,
    hand_overs: Vec<Micros>,
    /// When upserts were refused with 507.
    refused: Vec<Micros>,
    /// When writes of upserts, and of deletes alone, were acknowledged.
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
    /// Fills the disks of a leader and of its followers until so many are full, once there is a leader.
    pub fn fill_disks(&mut self) {
        let group = group(self);
        let Some((leader, _)) = self.leader(group).filter(|_| self.now >= BEGIN) else {
            return self.queue.push(self.now + 100 * MILLI, What::Fault);
        };
        let followers = self.pods_of(group).into_iter().filter(|pod| *pod != leader);
        let pods: Vec<usize> = std::iter::once(leader).chain(followers).take(self.plan.full_disks).collect();
        for pod in &pods {
            self.fill_disk(*pod);
        }
        self.full_disks.snapshots = pods.iter().map(|pod| self.snapshots_of(*pod)).collect();
        self.counts.faults += pods.len() as u64;
        self.full_disks.filled = Some((pods, self.now));
        self.look_at_disks();
        self.queue.push(self.now + LASTING, What::Heal(Healing::FullDisks));
    }

    /// Leaves half of what deletes may use.
    fn fill_disk(&mut self, pod: usize) {
        let used: u64 = self.pods[pod].disk.files().iter().map(|(_, bytes)| bytes).sum();
        let mut room = 16 * SEGMENT_BYTES;
        while self.level_of(pod) == DiskLevel::Free && room > 0 {
            room -= SEGMENT_BYTES / 4;
            self.pods[pod].disk.limit(used + room);
            self.measure(pod);
        }
        self.pods[pod].disk.limit(used + room.saturating_sub(SEGMENT_BYTES));
        self.measure(pod);
        let level = self.level_of(pod);
        self.log(|| format!("the disk of pod {pod} is full: {level:?}"));
        if level != DiskLevel::Reserve {
            self.violation(format!("the disk of pod {pod} was filled and is {level:?}"));
        }
    }

    fn level_of(&self, pod: usize) -> DiskLevel {
        self.pods[pod].process.as_ref().map_or(DiskLevel::Free, |process| process.replica.status().disk)
    }

    fn snapshots_of(&self, pod: usize) -> u64 {
        self.pods[pod].process.as_ref().map_or(0, |process| process.replica.counters().snapshots_taken)
    }

    /// A look at who has space.
    pub fn look_at_disks(&mut self) {
        let pods = self.pods_of(group(self));
        let free = pods.iter().filter(|pod| self.level_of(**pod) == DiskLevel::Free).count();
        let since = self.full_disks.quorum_since.unwrap_or(self.now);
        self.full_disks.quorum_since = (free > pods.len() / 2).then_some(since);
    }

    pub fn handed_over_for_space(&mut self, pod: usize) {
        let last = self.full_disks.hand_overs.last().copied();
        if self.plan.full_disks == 0 || self.pods[pod].group() != group(self) {
            return;
        }
        if last.is_some_and(|last| self.now - last < HAND_OVER_EVERY) {
            self.violation(format!("handed over at {last:?} and again"));
        }
        self.full_disks.hand_overs.push(self.now);
    }

    /// A write was acknowledged, or refused with 507.
    pub fn note_write(&mut self, body: &Body, acknowledged: bool) {
        let Some(deletes) = deletes_only(body).filter(|_| self.plan.full_disks > 0) else { return };
        match (acknowledged, deletes) {
            (true, true) => self.full_disks.deleted.push(self.now),
            (true, false) => self.full_disks.upserted.push(self.now),
            // The last segments are for votes: deletes are refused too until a snapshot has let go of the log.
            (false, true) => {}
            (false, false) => {
                self.full_disks.refused.push(self.now);
                if self.full_disks.quorum_since.is_some_and(|since| self.now - since > NEWS) {
                    self.violation("an upsert was refused with 507 while a quorum has space".into());
                }
            }
        }
    }

    /// The disks have been full for long enough: has all happened that must, and nothing else?
    pub fn judge_full_disks(&mut self) {
        let Some((pods, filled)) = self.full_disks.filled.clone() else { return };
        let (count, now) = (pods.len(), self.now);
        let leader = self.leader(group(self)).map(|(leader, _)| leader);
        let seen = &self.full_disks;
        let late = |times: &[Micros]| times.last().is_some_and(|last| now - last < LATE);
        let mut faults = Vec::new();
        if !late(&seen.deleted) {
            faults.push(format!("no delete was acknowledged in the last {} s", LATE / SECOND));
        }
        if count == 1 && !(seen.refused.is_empty() && late(&seen.upserted)) {
            faults.push(format!("one full disk of three had {} upserts refused", seen.refused.len()));
        }
        if count > 1 && !seen.refused.iter().any(|at| at - filled < HAND_OVER + NEWS) {
            faults.push("a full majority refused no upsert".into());
        }
        let hand_overs = usize::from(count < 3);
        if seen.hand_overs.iter().filter(|at| **at - filled < HAND_OVER).count() != hand_overs {
            faults.push(format!("hand-overs at {:?}, the disks were filled at {filled}", seen.hand_overs));
        }
        if count < 3 && leader.is_none_or(|leader| self.level_of(leader) != DiskLevel::Free) {
            faults.push(format!("pod {leader:?} leads, and its disk is full"));
        }
        for (pod, before) in pods.iter().zip(&seen.snapshots) {
            if self.snapshots_of(*pod) <= *before {
                faults.push(format!("pod {pod} took no snapshot to free its log"));
            }
        }
        faults.into_iter().for_each(|fault| self.violation(format!("{count} full disks: {fault}")));
        pods.into_iter().for_each(|pod| self.heal(Healing::Space(pod)));
    }

    /// Upserts are acknowledged once there is space again.
    pub fn judge_free_disks(&mut self) {
        if self.full_disks.upserted.last().is_none_or(|last| self.now - last > LATE) {
            self.violation("there is space again, and no upsert was acknowledged".into());
        }
    }
}
