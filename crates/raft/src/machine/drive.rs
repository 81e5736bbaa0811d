//! Time and elections.

use super::Raft;
use raft::{ProgressState, SnapshotStatus};

impl Raft {
    /// One tick passes. `random` is drawn by the caller for each tick and decides election timeouts, nothing else.
    pub fn tick(&mut self, random: u64) {
        if self.is_leader() {
            self.node.tick();
            self.retry_snapshots();
        } else if self.node.raft.promotable() && self.node.raft.prs().is_singleton() {
            // The only voter: no other can lead.
            self.campaign();
        } else if self.is_settled() {
            if self.node.raft.election_elapsed == 0 {
                let ticks = self.config.election_ticks;
                self.election_timeout = ticks + (random % ticks as u64) as usize;
            }
            // The library draws its own timeout whenever its timer resets; ours stands before it looks.
            self.node.raft.set_randomized_election_timeout(self.election_timeout);
            self.node.tick();
        }
    }

    /// Stands for election now, by pre-vote. Does nothing if this replica may not: a leader, a learner, or one whose
    /// disk is behind.
    pub fn campaign(&mut self) {
        if !self.is_leader() && self.node.raft.promotable() && self.is_settled() {
            // An election refused is no failure: the timer brings the next.
            let _ = self.node.campaign();
        }
    }

    /// Tells that messages to this replica are being lost, so the leader probes instead of streaming.
    pub fn report_unreachable(&mut self, to: u64) {
        self.node.report_unreachable(to);
    }

    /// Tells how a follower fared with the snapshot offered to it; optional, since the leader offers again by itself.
    pub fn report_snapshot(&mut self, to: u64, ok: bool) {
        self.snapshot_ticks.remove(&to);
        self.node.report_snapshot(to, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
    }

    /// The library waits forever for the fate of a snapshot, and its offer may have been lost.
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
