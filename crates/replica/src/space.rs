//! Space of a group: what is admitted while disks are full or memory is short, and who leads then.
//!
//! ```text
//!   free bytes ──► level: free | reserve | exhausted ──► told to the group; memory short ──► reserve at least
//!                     │ not free: snapshot at once, release the log; take no appends while a quorum has space
//!   leader: a quorum free ──► all writes; else upserts get 507, deletes use the reserve; exhausted ──► all get 507
//!           itself full, or its fsync hangs ──► hand over to a caught-up voter with space, at most once in 30 s
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{Op, ReplicaId};
use meridian_proto::frame::{DiskNotice, NodeId, PeerMessage};
use meridian_proto::topology::DiskLevel;
use meridian_raft::PeerState;

use crate::{Command, HandOverCause, Replica};

/// Between two hand-overs of a group because of its disks: each one costs an election's pause.
const HAND_OVER_EVERY: Duration = Duration::from_secs(30);
/// How often a level that did not change is told again: notices may be lost.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Between two snapshots of a replica that has no space: the second frees little.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// Ticks in a row that must find an fsync running for too long: after a stall of this process the disk may have answered
/// long ago, and its answer waits in the inbox.
const HANG_TICKS: u32 = 5;
/// Entries that a successor may lack: it gets them before it leads.
const SUCCESSOR_LAG: u64 = 1_000;

/// What this replica knows of the disks of its group.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Bytes that the log and snapshots can still take; unknown until measured.
    free: Option<u64>,
    /// Of the disk alone.
    disk: DiskLevel,
    /// Of all that a write needs: it is told to the group.
    level: DiskLevel,
    /// What others said last.
    peers: BTreeMap<ReplicaId, DiskNotice>,
    /// When each was last heard.
    heard: BTreeMap<ReplicaId, Duration>,
    told: Option<(DiskNotice, Duration)>,
    /// Since when this replica leads.
    leads_since: Option<Duration>,
    /// When the group last changed its leader because of a disk.
    handed_over: Option<Duration>,
    /// Ticks in a row that found the oldest fsync running for more than an election timeout.
    hung_ticks: u32,
    /// When a snapshot was last taken for want of space.
    snapshot_at: Option<Duration>,
}

impl Replica {
    pub(crate) fn free_bytes(&mut self, free: u64) {
        self.space.free = Some(free);
        self.judge_space();
        self.tell_space(false);
    }

    /// The level as it is now. While a snapshot is being written into its reserve, the level does not rise. Short memory counts
    /// as a disk in its reserve: deletes, which give memory back, go on.
    pub(crate) fn judge_space(&mut self) {
        let free = self.space.free.unwrap_or(u64::MAX);
        let taking = self.snapshots.is_taking();
        let snapshot = if taking { 0 } else { self.snapshot_reserve() };
        let reserve = &self.settings.disk_reserve;
        let level = match free.saturating_sub(snapshot) {
            left if left <= reserve.last_bytes => DiskLevel::Exhausted,
            left if left <= reserve.log_bytes => DiskLevel::Reserve,
            _ => DiskLevel::Free,
        };
        self.space.disk = if taking { level.max(self.space.disk) } else { level };
        let for_memory = if self.memory.is_short() { DiskLevel::Reserve } else { DiskLevel::Free };
        self.space.level = self.space.disk.max(for_memory);
    }

    /// 1.2 times what a snapshot would take now.
    fn snapshot_reserve(&self) -> u64 {
        let bytes = self.snapshots.bytes + self.consensus.log_bytes.since(self.snapshots.newest);
        bytes.saturating_add(bytes / 5)
    }

    pub(crate) fn disk_level(&self) -> DiskLevel {
        self.space.disk
    }

    /// Whether this replica's disk has space beyond its reserve, and its memory has room for a snapshot.
    pub(crate) fn has_space(&self) -> bool {
        self.space.level == DiskLevel::Free
    }

    /// Whether a quorum of all voters has space, as far as the leader knows. A voter is full when it said so, or when it has
    /// been silent for an election timeout of this term while another one is full. Where nobody said so, nobody is: a write
    /// that silent voters hold up is not refused for a disk.
    fn quorum_has_space(&self) -> bool {
        let voters = self.raft.members().voters;
        let own = self.me().replica.0;
        let level = |id: u64| match self.space.peers.get(&ReplicaId(id)) {
            _ if id == own => self.space.level,
            Some(notice) => notice.level,
            None => DiskLevel::Free,
        };
        let with_space = voters.iter().filter(|id| level(**id) == DiskLevel::Free);
        if with_space.clone().count() == voters.len() {
            return true;
        }
        let speaks = |id: &&u64| **id == own || !self.is_silent(ReplicaId(**id));
        with_space.filter(speaks).count() > voters.len() / 2
    }

    /// Nothing was heard of it for an election timeout of this term.
    fn is_silent(&self, replica: ReplicaId) -> bool {
        let since = self.space.heard.get(&replica).copied().max(self.space.leads_since).unwrap_or_default();
        self.now.mono.saturating_sub(since) >= self.election_timeout()
    }

    /// A replica of the group said something.
    pub(crate) fn heard_of(&mut self, from: NodeId) {
        if from.shard == self.me().shard {
            self.space.heard.insert(from.replica, self.now.mono);
        }
    }

    /// Whether the leader may admit what makes the state grow.
    pub(crate) fn admits_growth(&self) -> bool {
        self.has_space() && self.quorum_has_space()
    }

    /// Whether the leader may admit these changes: deletes and drops may use the log's reserve.
    pub(crate) fn admits(&self, ops: &[Op]) -> bool {
        let shrinks = |op: &Op| matches!(op, Op::Delete { .. } | Op::DropCollection { .. });
        if ops.iter().all(shrinks) { self.admits_small() } else { self.admits_growth() }
    }

    /// Whether the leader may admit what needs little of the log and frees something, or changes the group.
    pub(crate) fn admits_small(&self) -> bool {
        self.space.level != DiskLevel::Exhausted
    }

    /// Whether a write that is not admitted here should be sent to the replica that is about to lead.
    pub(crate) fn is_handing_over_for_space(&self) -> bool {
        !self.has_space() && (self.raft.status().transferring_to.is_some() || self.successor_with_space().is_some())
    }

    /// A full follower takes nothing in while a quorum has space without it: what it cannot write would only wait.
    pub(crate) fn drops_appends_of(&self, from: NodeId) -> bool {
        let leads = self.raft.status().leader == Some(from.replica.0);
        leads && !self.has_space() && self.space.peers.get(&from.replica).is_some_and(|notice| notice.quorum_has_space)
    }

    pub(crate) fn disk_notice(&mut self, from: NodeId, notice: DiskNotice) {
        if from.shard != self.me().shard {
            return;
        }
        if notice.handing_over {
            self.space.handed_over = Some(self.now.mono);
        }
        self.space.peers.insert(from.replica, notice);
    }

    pub(crate) fn tick_space(&mut self) {
        self.judge_space();
        let leads = self.raft.status().role == meridian_raft::Role::Leader;
        match self.space.leads_since {
            None if leads => self.space.leads_since = Some(self.now.mono),
            Some(_) if !leads => self.space.leads_since = None,
            _ => {}
        }
        self.tell_space(false);
        let late = self.consensus.oldest_fsync(self.now.mono) > self.election_timeout();
        self.space.hung_ticks = if late { self.space.hung_ticks.saturating_add(1) } else { 0 };
        if leads {
            self.hand_over_for_space();
        }
    }

    /// Tells the group what changed at once, and all of it again now and then.
    pub(crate) fn tell_space(&mut self, handing_over: bool) {
        let quorum_has_space = self.space.leads_since.is_some() && self.quorum_has_space();
        let notice = DiskNotice { level: self.space.level, quorum_has_space, handing_over };
        let due =
            |(told, at): &(DiskNotice, Duration)| *told != notice || self.now.mono.saturating_sub(*at) >= TELL_EVERY;
        if self.space.told.as_ref().is_none_or(due) {
            self.space.told = Some((notice, self.now.mono));
            let others = self.raft.members();
            let own = self.me().replica.0;
            for id in others.voters.iter().chain(&others.learners).filter(|id| **id != own) {
                self.send_replica(ReplicaId(*id), PeerMessage::Disk(notice));
            }
        }
    }

    /// Gives the leadership to a voter that can write, when this replica has no space, or its disk hangs.
    fn hand_over_for_space(&mut self) {
        let hangs = self.space.hung_ticks >= HANG_TICKS;
        let again = self.space.handed_over.is_some_and(|at| self.now.mono.saturating_sub(at) < HAND_OVER_EVERY);
        if again || self.draining.is_some() || (self.has_space() && !hangs) {
            return;
        }
        if let Some(to) = self.successor_with_space()
            && self.raft.transfer_leader(to.0).is_ok()
        {
            self.space.handed_over = Some(self.now.mono);
            self.tell_space(true);
            let cause = match self.space.disk {
                _ if hangs => HandOverCause::FsyncHangs,
                DiskLevel::Free => HandOverCause::MemoryShort,
                DiskLevel::Reserve | DiskLevel::Exhausted => HandOverCause::DiskFull,
            };
            self.out.push(Command::HandedOver { to, cause });
        }
    }

    /// The caught-up voter with space that has the most of the log.
    fn successor_with_space(&self) -> Option<ReplicaId> {
        let again = self.space.handed_over.is_some_and(|at| self.now.mono.saturating_sub(at) < HAND_OVER_EVERY);
        let status = self.raft.status();
        let can = |peer: &&meridian_raft::Peer| {
            let free = self.space.peers.get(&ReplicaId(peer.id)).is_some_and(|notice| notice.level == DiskLevel::Free);
            let caught_up = peer.matched + SUCCESSOR_LAG >= status.last_index && peer.state != PeerState::Snapshot;
            peer.voter && !self.is_silent(ReplicaId(peer.id)) && free && caught_up
        };
        let found = status.peers.iter().filter(can).max_by_key(|peer| peer.matched);
        found.filter(|_| !again).map(|peer| ReplicaId(peer.id))
    }

    /// Whether a snapshot is to be taken for want of space: there is something that it lets go of, and room to write it.
    pub(crate) fn snapshot_frees_space(&self) -> bool {
        let recent = self.space.snapshot_at.is_some_and(|at| self.now.mono.saturating_sub(at) < SNAPSHOT_EVERY);
        let fits = self.space.free.is_none_or(|free| free >= self.snapshot_reserve());
        self.space.disk != DiskLevel::Free && !recent && fits && self.state.applied().0 > self.snapshots.newest
    }

    /// A snapshot for want of space has begun.
    pub(crate) fn note_snapshot_for_space(&mut self) {
        if !self.has_space() {
            self.space.snapshot_at = Some(self.now.mono);
        }
    }

    /// Whether a snapshot that another replica offers can be written.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.space.free.is_none_or(|free| free >= bytes.saturating_add(self.settings.disk_reserve.last_bytes))
    }

    fn election_timeout(&self) -> Duration {
        self.settings.tick.saturating_mul(u32::try_from(self.settings.election_ticks).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
