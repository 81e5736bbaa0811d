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
use meridian_raft::{PeerState, Raft, Role as RaftRole};

use crate::context::Ctx;
use crate::log_bytes::LogBytes;
use crate::{Command, HandOverCause, Settings};

/// Between two hand-overs of a group because of its disks: each one costs an election's pause.
const HAND_OVER_EVERY: Duration = Duration::from_secs(30);
/// How often a level that did not change is told again: notices may be lost.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);
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
    sent: Option<(DiskNotice, Duration)>,
    /// Since when this replica leads.
    leads_since: Option<Duration>,
    /// When the group last changed its leader because of a disk.
    handed_over: Option<Duration>,
    /// Ticks in a row that found the oldest fsync running for more than an election timeout.
    hung_ticks: u32,
    /// When a snapshot was last taken for want of space.
    snapshot_at: Option<Duration>,
}

/// What the group is like, for questions outside of an event.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) raft: &'a Raft,
    /// This replica.
    pub(crate) own: ReplicaId,
    pub(crate) now: Duration,
    pub(crate) settings: &'a Settings,
}

/// Something happened that concerns space.
#[derive(Debug)]
pub(crate) enum Event {
    /// So many bytes can still be written.
    Measured { free: u64 },
    /// Whether memory is short was found out.
    MemoryMeasured,
    /// A replica of the region said how full its disk is.
    Notice { from: NodeId, notice: DiskNotice },
    /// A snapshot has begun.
    SnapshotBegun,
    /// Time passed.
    Tick,
}

impl Space {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Measured { free } => {
                self.free = Some(free);
                self.update_level(cx);
                self.send_notice(cx, false);
            }
            Event::MemoryMeasured => {
                self.update_level(cx);
                self.send_notice(cx, false);
            }
            Event::Notice { from, notice } if from.shard == cx.me().shard => {
                if notice.handing_over {
                    self.handed_over = Some(cx.now.mono);
                }
                self.peers.insert(from.replica, notice);
            }
            Event::Notice { .. } => {}
            Event::SnapshotBegun => {
                if !self.has_space() {
                    self.snapshot_at = Some(cx.now.mono);
                }
            }
            Event::Tick => self.tick(cx),
        }
    }

    /// A replica of the group said something. Every message does, so nothing is lent for it.
    pub(crate) fn heard(&mut self, from: ReplicaId, now: Duration) {
        self.heard.insert(from, now);
    }

    /// Bytes that the log and snapshots can still take; unknown until measured.
    pub(crate) fn free(&self) -> Option<u64> {
        self.free
    }

    /// The level as it is now. While a snapshot is being written into its reserve, the level does not rise. Short memory counts
    /// as a disk in its reserve: deletes, which give memory back, go on.
    fn update_level(&mut self, cx: &Ctx<'_>) {
        let free = self.free.unwrap_or(u64::MAX);
        let taking = cx.facts.snapshots.taking;
        let newest = &cx.facts.snapshots;
        let snapshot = if taking { 0 } else { snapshot_reserve(newest.bytes, newest.newest, cx.log_bytes) };
        let reserve = &cx.settings.disk_reserve;
        let level = match free.saturating_sub(snapshot) {
            left if left <= reserve.last_bytes => DiskLevel::Exhausted,
            left if left <= reserve.log_bytes => DiskLevel::Reserve,
            _ => DiskLevel::Free,
        };
        self.disk = if taking { level.max(self.disk) } else { level };
        let for_memory = if cx.facts.memory_short { DiskLevel::Reserve } else { DiskLevel::Free };
        self.level = self.disk.max(for_memory);
    }

    /// Of the disk alone.
    pub(crate) fn disk_level(&self) -> DiskLevel {
        self.disk
    }

    /// Whether this replica's disk has space beyond its reserve, and its memory has room for a snapshot.
    pub(crate) fn has_space(&self) -> bool {
        self.level == DiskLevel::Free
    }

    /// Whether a quorum of all voters has space, as far as the leader knows. A voter is full when it said so, or when it has
    /// been silent for an election timeout of this term while another one is full. Where nobody said so, nobody is: a write
    /// that silent voters hold up is not refused for a disk.
    fn quorum_has_space(&self, group: Group<'_>) -> bool {
        let voters = group.raft.members().voters;
        let own = group.own.0;
        let level = |id: u64| match self.peers.get(&ReplicaId(id)) {
            _ if id == own => self.level,
            Some(notice) => notice.level,
            None => DiskLevel::Free,
        };
        let with_space = voters.iter().filter(|id| level(**id) == DiskLevel::Free);
        if with_space.clone().count() == voters.len() {
            return true;
        }
        let speaks = |id: &&u64| **id == own || !self.is_silent(group, ReplicaId(**id));
        with_space.filter(speaks).count() > voters.len() / 2
    }

    /// Nothing was heard of it for an election timeout of this term.
    fn is_silent(&self, group: Group<'_>, replica: ReplicaId) -> bool {
        let since = self.heard.get(&replica).copied().max(self.leads_since).unwrap_or_default();
        group.now.saturating_sub(since) >= group.election_timeout()
    }

    /// Whether the leader may admit what makes the state grow.
    pub(crate) fn admits_growth(&self, group: Group<'_>) -> bool {
        self.has_space() && self.quorum_has_space(group)
    }

    /// Whether the leader may admit these changes: deletes and drops may use the log's reserve.
    pub(crate) fn admits(&self, group: Group<'_>, ops: &[Op]) -> bool {
        let shrinks = |op: &Op| matches!(op, Op::Delete { .. } | Op::DropCollection { .. });
        if ops.iter().all(shrinks) { self.admits_small() } else { self.admits_growth(group) }
    }

    /// Whether the leader may admit what needs little of the log and frees something, or changes the group.
    pub(crate) fn admits_small(&self) -> bool {
        self.level != DiskLevel::Exhausted
    }

    /// Whether a write that is not admitted here should be sent to the replica that is about to lead.
    pub(crate) fn is_handing_over(&self, group: Group<'_>) -> bool {
        !self.has_space() && (group.raft.status().transferring_to.is_some() || self.successor(group).is_some())
    }

    /// A full follower takes nothing in while a quorum has space without it: what it cannot write would only wait.
    pub(crate) fn drops_appends_of(&self, raft: &Raft, from: NodeId) -> bool {
        let leads = raft.status().leader == Some(from.replica.0);
        leads && !self.has_space() && self.peers.get(&from.replica).is_some_and(|notice| notice.quorum_has_space)
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        self.update_level(cx);
        let leads = cx.raft.status().role == RaftRole::Leader;
        match self.leads_since {
            None if leads => self.leads_since = Some(cx.now.mono),
            Some(_) if !leads => self.leads_since = None,
            _ => {}
        }
        self.send_notice(cx, false);
        let late = cx.facts.oldest_fsync > group(cx).election_timeout();
        self.hung_ticks = if late { self.hung_ticks.saturating_add(1) } else { 0 };
        if leads {
            self.hand_over(cx);
        }
    }

    /// Tells the group what changed at once, and all of it again now and then.
    fn send_notice(&mut self, cx: &mut Ctx<'_>, handing_over: bool) {
        let quorum_has_space = self.leads_since.is_some() && self.quorum_has_space(group(cx));
        let notice = DiskNotice { level: self.level, quorum_has_space, handing_over };
        let due =
            |(sent, at): &(DiskNotice, Duration)| *sent != notice || cx.now.mono.saturating_sub(*at) >= NOTICE_INTERVAL;
        if self.sent.as_ref().is_none_or(due) {
            self.sent = Some((notice, cx.now.mono));
            let others = cx.raft.members();
            let own = cx.me().replica.0;
            for id in others.voters.iter().chain(&others.learners).filter(|id| **id != own) {
                cx.send_replica(ReplicaId(*id), PeerMessage::Disk(notice));
            }
        }
    }

    /// Gives the leadership to a voter that can write, when this replica has no space, or its disk hangs.
    fn hand_over(&mut self, cx: &mut Ctx<'_>) {
        let hangs = self.hung_ticks >= HANG_TICKS;
        let again = self.handed_over.is_some_and(|at| cx.now.mono.saturating_sub(at) < HAND_OVER_EVERY);
        if again || cx.facts.draining || (self.has_space() && !hangs) {
            return;
        }
        if let Some(to) = self.successor(group(cx))
            && cx.raft.transfer_leader(to.0).is_ok()
        {
            self.handed_over = Some(cx.now.mono);
            self.send_notice(cx, true);
            let cause = match self.disk {
                _ if hangs => HandOverCause::FsyncHangs,
                DiskLevel::Free => HandOverCause::MemoryShort,
                DiskLevel::Reserve | DiskLevel::Exhausted => HandOverCause::DiskFull,
            };
            cx.command(Command::HandedOver { to, cause });
        }
    }

    /// The caught-up voter with space that has the most of the log.
    fn successor(&self, group: Group<'_>) -> Option<ReplicaId> {
        let again = self.handed_over.is_some_and(|at| group.now.saturating_sub(at) < HAND_OVER_EVERY);
        let status = group.raft.status();
        let can = |peer: &&meridian_raft::Peer| {
            let free = self.peers.get(&ReplicaId(peer.id)).is_some_and(|notice| notice.level == DiskLevel::Free);
            let caught_up = peer.matched + SUCCESSOR_LAG >= status.last_index && peer.state != PeerState::Snapshot;
            peer.voter && !self.is_silent(group, ReplicaId(peer.id)) && free && caught_up
        };
        let found = status.peers.iter().filter(can).max_by_key(|peer| peer.matched);
        found.filter(|_| !again).map(|peer| ReplicaId(peer.id))
    }

    /// Whether a snapshot is to be taken for want of space: there is something that it lets go of, and room to write it.
    /// `reserve`: what it would take. `is_behind`: something was applied behind the newest one.
    pub(crate) fn wants_snapshot(&self, now: Duration, is_behind: bool, reserve: impl FnOnce() -> u64) -> bool {
        if self.disk == DiskLevel::Free || !is_behind {
            return false;
        }
        let recent = self.snapshot_at.is_some_and(|at| now.saturating_sub(at) < SNAPSHOT_EVERY);
        !recent && self.free.is_none_or(|free| free >= reserve())
    }
}

impl Group<'_> {
    fn election_timeout(&self) -> Duration {
        let Settings { tick, election_ticks, .. } = self.settings;
        tick.saturating_mul(u32::try_from(*election_ticks).unwrap_or(u32::MAX))
    }
}

fn group<'a>(cx: &'a Ctx<'_>) -> Group<'a> {
    Group { raft: cx.raft, own: cx.me().replica, now: cx.now.mono, settings: cx.settings }
}

/// 1.2 times what a snapshot would take now. `bytes`: of the newest one, at index `newest`.
pub(crate) fn snapshot_reserve(bytes: u64, newest: u64, log: &LogBytes) -> u64 {
    let bytes = bytes + log.since(newest);
    bytes.saturating_add(bytes / 5)
}

#[cfg(test)]
mod tests;
