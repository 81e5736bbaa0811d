//! Ticks and elections.

use super::Raft;
use raft::{ProgressState, SnapshotStatus};

impl Raft {
    /// Advances time by one tick. `random`, drawn by the caller per tick, determines election timeouts only.
    pub fn tick(&mut self, random: u64) {
        if self.is_leader() {
            self.node.tick();
            self.retry_snapshots();
        } else if self.node.raft.promotable() && self.node.raft.prs().is_singleton() {
            // The only voter: no other replica can lead.
            self.campaign();
        } else if self.is_persisted() {
            if self.node.raft.election_elapsed == 0 {
                let ticks = self.config.election_ticks;
                self.election_timeout = ticks + (random % ticks as u64) as usize;
            }
            // raft-rs draws its own timeout at each reset of its timer; override it before it is used.
            self.node.raft.set_randomized_election_timeout(self.election_timeout);
            self.node.tick();
        }
    }

    /// Starts an election now, by pre-vote. No effect on a leader, a learner, or a replica with output that is not
    /// persisted.
    pub fn campaign(&mut self) {
        if !self.is_leader() && self.node.raft.promotable() && self.is_persisted() {
            // A refused election is retried by the timer.
            let _ = self.node.campaign();
        }
    }

    /// Reports lost messages to the replica `to`, so that the leader probes instead of streaming.
    pub fn report_unreachable(&mut self, to: u64) {
        self.node.report_unreachable(to);
    }

    /// Reports the result of a snapshot offer to the replica `to`; optional, since the leader repeats offers.
    pub fn report_snapshot(&mut self, to: u64, ok: bool) {
        self.snapshot_ticks.remove(&to);
        self.node.report_snapshot(to, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
    }

    /// Repeats snapshot offers: raft-rs waits forever for the result of one, and an offer may be lost.
    fn retry_snapshots(&mut self) {
        let stuck =
            |(id, progress): (&u64, &raft::Progress)| (progress.state == ProgressState::Snapshot).then_some(*id);
        let stuck: Vec<u64> = self.node.raft.prs().iter().filter_map(stuck).collect();
        self.snapshot_ticks.retain(|id, _| stuck.contains(id));
        for id in stuck {
            let ticks = self.snapshot_ticks.entry(id).or_default();
            *ticks += 1;
            if *ticks >= self.config.snapshot_retry_ticks {
                self.report_snapshot(id, false);
            }
        }
    }
}
