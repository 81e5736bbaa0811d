//! Disk space and memory of a group: admission while they are short, and transfer of leadership.
//!
//! ```text
//!   free bytes ──► level: free | reserve | exhausted ──► told to the group; memory short ──► reserve at least
//!                     │ not free: snapshot at once, release the log; take no appends while a quorum has space
//!   leader: a quorum free ──► all writes; else upserts get 507, deletes use the reserve; exhausted ──► all get 507
//!           itself full, or its fsync hangs ──► hand over to a caught-up voter with space, at most once in 30 s
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::ReplicaId;
use meridian_proto::frame::{DiskNotice, NodeId, PeerMessage};
use meridian_proto::topology::DiskLevel;
use meridian_raft::{PeerState, Raft};

use crate::context::Ctx;
use crate::log_bytes::LogBytes;
use crate::{Command, HandOverCause, Settings};

/// Time between two transfers of leadership because of disks: each one costs the pause of an election.
const HAND_OVER_EVERY: Duration = Duration::from_secs(30);
/// Interval at which an unchanged level is sent again, since notices may be lost.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two snapshots of a replica without space: a second one frees little.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// Consecutive ticks that must find an fsync running for too long: after a stall of this process the disk may have
/// finished long ago, with the result waiting in the inbox.
const HANG_TICKS: u32 = 5;
/// Entries that a successor may lack: it receives them before it leads.
const SUCCESSOR_LAG: u64 = 1_000;

/// State of the disks of the group, as far as this replica knows it.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Bytes that the log and snapshots can still use; `None` until measured.
    free: Option<u64>,
    /// Level of the disk alone.
    disk: DiskLevel,
    /// Level of disk and memory together, which is sent to the group.
    level: DiskLevel,
    /// The last notice of each other replica.
    peers: BTreeMap<ReplicaId, DiskNotice>,
    /// Time at which each was last heard.
    heard: BTreeMap<ReplicaId, Duration>,
    sent: Option<(DiskNotice, Duration)>,
    /// Time since which this replica leads.
    leads_since: Option<Duration>,
    /// Time of the last transfer of leadership because of a disk.
    handed_over: Option<Duration>,
    /// Consecutive ticks that found the oldest fsync running for more than an election timeout.
    hung_ticks: u32,
    /// Time of the last snapshot taken to free space.
    snapshot_at: Option<Duration>,
}

/// State of the group, for queries outside of an event.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) raft: &'a Raft,
    /// This replica.
    pub(crate) own: ReplicaId,
    pub(crate) now: Duration,
    pub(crate) settings: &'a Settings,
}

/// Events about space.
#[derive(Debug)]
pub(crate) enum Event {
    /// Measured number of bytes that can still be written.
    Measured { free: u64 },
    /// Memory was measured.
    MemoryMeasured,
    /// A replica of the region sent its disk level.
    Notice { from: NodeId, notice: DiskNotice },
    /// A snapshot was started.
    SnapshotBegun,
    /// Time has passed.
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

    /// Records a message of a replica of the group. It is called for every message, so it takes no context.
    pub(crate) fn heard(&mut self, from: ReplicaId, now: Duration) {
        self.heard.insert(from, now);
    }

    /// Bytes that the log and snapshots can still use; `None` until measured.
    pub(crate) fn free(&self) -> Option<u64> {
        self.free
    }

    /// Computes the level. While a snapshot is written into its reserve, the level does not rise. Short memory counts
    /// as a disk in its reserve: deletes, which free memory, continue.
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

    /// Level of the disk alone.
    pub(crate) fn disk_level(&self) -> DiskLevel {
        self.disk
    }

    /// Returns true if the disk has space beyond its reserve and memory suffices for a snapshot.
    pub(crate) fn has_space(&self) -> bool {
        self.level == DiskLevel::Free
    }

    /// Returns true if a quorum of all voters has space, as far as the leader knows. A voter counts as full if it
    /// reported so, or if it has been silent for an election timeout of this term while another one is full. If no
    /// voter reported so, none counts as full: a write delayed by silent voters is not refused because of disks.
    fn quorum_has_space(&self, group: Group<'_>) -> bool {
        if self.has_space() && self.peers.values().all(|notice| notice.level == DiskLevel::Free) {
            return true;
        }
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

    /// Returns true if the replica was not heard for an election timeout of this term.
    fn is_silent(&self, group: Group<'_>, replica: ReplicaId) -> bool {
        let since = self.heard.get(&replica).copied().max(self.leads_since).unwrap_or_default();
        group.now.saturating_sub(since) >= group.election_timeout()
    }

    /// Returns true if the leader may admit changes that make the state grow.
    pub(crate) fn admits_growth(&self, group: Group<'_>) -> bool {
        self.has_space() && self.quorum_has_space(group)
    }

    /// Returns true if the leader may admit small changes that free space or change the group.
    pub(crate) fn admits_small(&self) -> bool {
        self.level != DiskLevel::Exhausted
    }

    /// Returns true if a refused write should be sent to the replica that is about to lead.
    pub(crate) fn is_handing_over(&self, group: Group<'_>) -> bool {
        !self.has_space() && (group.raft.status().transferring_to.is_some() || self.successor(group).is_some())
    }

    /// A full follower drops appends while a quorum has space without it: it could not write them.
    pub(crate) fn drops_appends_of(&self, raft: &Raft, from: NodeId) -> bool {
        !self.has_space()
            && raft.leader() == Some(from.replica.0)
            && self.peers.get(&from.replica).is_some_and(|notice| notice.quorum_has_space)
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        self.update_level(cx);
        let leads = cx.raft.is_leader();
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

    /// Sends a changed level to the group at once, and an unchanged one periodically.
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

    /// Transfers leadership to a voter that can write, if this replica has no space or its disk hangs.
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

    /// The caught-up voter with space that has the longest log.
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

    /// Returns true if a snapshot should be taken to free space: it would release log entries, and there is room to
    /// write it. `reserve`: its expected size. `is_behind`: entries were applied since the newest snapshot.
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

/// 1.2 times the expected size of a snapshot. `bytes`: size of the newest one, at index `newest`.
pub(crate) fn snapshot_reserve(bytes: u64, newest: u64, log: &LogBytes) -> u64 {
    let bytes = bytes + log.since(newest);
    bytes.saturating_add(bytes / 5)
}

#[cfg(test)]
mod tests;
