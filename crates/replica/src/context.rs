//! Context of a part while it handles an event.

use std::time::Duration;

use meridian_model::{ReplicaId, Term, VersionVector};
use meridian_proto::frame::{CallNumbers, NodeId, PeerMessage, ShardAnswer};
use meridian_proto::topology::{Identity, TopologyAnswer};
use meridian_raft::Raft;
use meridian_shard::State;

use crate::effect::{Effect, Requester};
use crate::log_bytes::LogBytes;
use crate::time::Time;
use crate::{Command, Counters, Settings};

/// Time, identity, state and effect buffers, borrowed for one event.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Time,
    pub(crate) settings: &'a Settings,
    pub(crate) identity: &'a Identity,
    pub(crate) raft: &'a mut Raft,
    pub(crate) state: &'a State,
    /// Sizes of the entries in the log.
    pub(crate) log_bytes: &'a mut LogBytes,
    pub(crate) numbers: &'a mut CallNumbers,
    pub(crate) counters: &'a mut Counters,
    pub(crate) facts: Facts,
    /// Commands, performed before `effects`.
    pub(crate) out: &'a mut Vec<Command>,
    /// Effects, performed in order after `out`.
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// Facts derived from other parts, recomputed before each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// This replica left service.
    pub(crate) out_of_service: bool,
    /// The state may have diverged.
    pub(crate) in_doubt: bool,
    /// Term that this replica leads and whose first entry it has applied.
    pub(crate) term: Option<Term>,
    /// This replica leads a term and may propose.
    pub(crate) leading: bool,
    /// Entries committed before the start are applied.
    pub(crate) caught_up: bool,
    /// The process is draining.
    pub(crate) draining: bool,
    /// The disk has space beyond the reserve, and memory suffices for a snapshot.
    pub(crate) has_space: bool,
    /// Small entries that free space or change the group may be proposed.
    pub(crate) admits_small: bool,
    /// Free bytes for log and snapshots; `None` until measured.
    pub(crate) free_bytes: Option<u64>,
    /// Memory does not suffice for a snapshot.
    pub(crate) memory_short: bool,
    /// A snapshot is due because it frees space.
    pub(crate) snapshot_frees_space: bool,
    /// Age of the oldest batch that is not durable.
    pub(crate) oldest_fsync: Duration,
    pub(crate) snapshots: SnapshotFacts,
}

/// State of the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SnapshotFacts {
    /// Index of the newest snapshot on disk.
    pub(crate) newest: u64,
    /// The newest number of a snapshot of this replica, written or in progress.
    pub(crate) newest_number: u64,
    /// File size of the newest snapshot, in bytes.
    pub(crate) bytes: u64,
    /// Write speed of the newest snapshot, in bytes per second; `None` if this process did not write it.
    pub(crate) speed: Option<u64>,
    /// A snapshot is being written.
    pub(crate) taking: bool,
    /// A snapshot of another replica is being installed.
    pub(crate) installing: bool,
}

impl Facts {
    /// Returns `true` if this replica serves, is caught up and is not in doubt.
    pub(crate) fn is_trusted(&self) -> bool {
        !self.out_of_service && !self.in_doubt
    }
}

/// Reason in refusals while this replica is in doubt.
pub(crate) const DOUBT: &str = "its state differs from its group's";

impl Ctx<'_> {
    /// Node id of this replica.
    pub(crate) fn me(&self) -> NodeId {
        self.identity.node()
    }

    /// Answer to a leader-only call on a replica that does not lead.
    pub(crate) fn not_leader(&self) -> TopologyAnswer {
        let leader = self.raft.status().leader.map(ReplicaId).filter(|id| *id != self.me().replica);
        TopologyAnswer::NotLeader { leader }
    }

    /// Returns `true` if the positions that concern this shard are applied. Positions of other shards of the own region
    /// are ignored.
    pub(crate) fn covers(&self, wanted: &VersionVector) -> bool {
        let region = &self.identity.genesis.region;
        let (own, have) = (self.me().shard, self.state.vv());
        wanted
            .iter()
            .filter(|(origin, _)| origin.region != *region || origin.shard == own)
            .all(|(origin, position)| have.position(origin) >= position)
    }

    /// Returns `true` if a snapshot of `bytes` from another replica fits on the disk.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let needed = bytes.saturating_add(self.settings.disk_reserve.last_bytes);
        self.facts.free_bytes.is_none_or(|free| free >= needed)
    }

    /// Transfers the leadership to the voter with the most complete log.
    pub(crate) fn hand_over(&mut self) {
        let status = self.raft.status();
        if status.transferring_to.is_some() {
            return;
        }
        let heir =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active).max_by_key(|peer| peer.matched);
        if let Some(heir) = heir {
            // Fails only if this replica no longer leads, which is the goal.
            let _ = self.raft.transfer_leader(heir.id);
        }
    }

    /// Leaves service for good: log or state is damaged, diverged or of a later version.
    pub(crate) fn leave_service(&mut self, reason: String) {
        self.effects.push(Effect::LeaveService(reason));
    }

    pub(crate) fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.command(Command::Send(to, message));
    }

    /// Sends a message to a replica of this group.
    pub(crate) fn send_replica(&mut self, to: ReplicaId, message: PeerMessage) {
        self.send(NodeId { replica: to, ..self.me() }, message);
    }

    pub(crate) fn command(&mut self, command: Command) {
        // Most handlers produce only commands; these bypass the effect buffer.
        if self.effects.is_empty() {
            self.out.push(command);
        } else {
            self.effects.push(Effect::Command(command));
        }
    }

    pub(crate) fn answer(&mut self, to: Requester, answer: ShardAnswer) {
        self.effects.push(Effect::Answer(to, answer));
    }
}
