//! What the machine lends a part while it handles an event.

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

/// The time, what this replica is and holds, and where effects go. A part keeps none of it.
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
    /// Commands that nothing is to be done before.
    pub(crate) out: &'a mut Vec<Command>,
    /// What is to be done after them, in order.
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// What follows from other parts, recomputed before each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// It does not serve any more.
    pub(crate) out_of_service: bool,
    /// What it holds may be wrong.
    pub(crate) in_doubt: bool,
    /// The term that it leads: it has applied its first entry.
    pub(crate) term: Option<Term>,
    /// It may propose: it leads a term, and may serve.
    pub(crate) leading: bool,
    /// What was committed when it started is applied.
    pub(crate) caught_up: bool,
    /// It was asked to stop.
    pub(crate) draining: bool,
    /// Its disk has space beyond the reserve, and its memory room for a snapshot.
    pub(crate) has_space: bool,
    /// What needs little of the log and frees something, or changes the group, may be proposed.
    pub(crate) admits_small: bool,
    /// Bytes that the log and snapshots can still take; unknown until measured.
    pub(crate) free_bytes: Option<u64>,
    /// A snapshot does not fit into its memory.
    pub(crate) memory_short: bool,
    /// A snapshot is to be taken for want of space.
    pub(crate) snapshot_frees_space: bool,
    /// How long the disk has been at work on the oldest batch that is not durable.
    pub(crate) oldest_fsync: Duration,
    pub(crate) snapshots: SnapshotFacts,
}

/// Where snapshots stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SnapshotFacts {
    /// Index of the newest one on disk.
    pub(crate) newest: u64,
    /// The newest number that one of this replica has, or will have.
    pub(crate) newest_number: u64,
    /// What the files of the newest one take.
    pub(crate) bytes: u64,
    /// Bytes a second at which it was written; unknown when this process did not write it.
    pub(crate) speed: Option<u64>,
    /// One is being written.
    pub(crate) taking: bool,
    /// Another replica's is on its way.
    pub(crate) installing: bool,
}

impl Facts {
    /// Whether others may rely on what this replica holds.
    pub(crate) fn is_trusted(&self) -> bool {
        !self.out_of_service && !self.in_doubt
    }
}

/// What clients are told while this replica is in doubt.
pub(crate) const DOUBT: &str = "its state differs from its group's";

impl Ctx<'_> {
    /// This replica among those of the region.
    pub(crate) fn me(&self) -> NodeId {
        self.identity.node()
    }

    /// The answer of a replica that does not lead to a call that only a leader can execute.
    pub(crate) fn not_leader(&self) -> TopologyAnswer {
        let leader = self.raft.status().leader.map(ReplicaId).filter(|id| *id != self.me().replica);
        TopologyAnswer::NotLeader { leader }
    }

    /// Whether the positions that concern this shard are applied: another shard's own log is not its to reach.
    pub(crate) fn covers(&self, wanted: &VersionVector) -> bool {
        let region = &self.identity.genesis.region;
        let (own, have) = (self.me().shard, self.state.vv());
        wanted
            .iter()
            .filter(|(origin, _)| origin.region != *region || origin.shard == own)
            .all(|(origin, position)| have.position(origin) >= position)
    }

    /// Whether a snapshot of so many bytes can be written, which another replica offers.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let needed = bytes.saturating_add(self.settings.disk_reserve.last_bytes);
        self.facts.free_bytes.is_none_or(|free| free >= needed)
    }

    /// Hands the leadership to the voter that has the most of the log.
    pub(crate) fn hand_over(&mut self) {
        let status = self.raft.status();
        if status.transferring_to.is_some() {
            return;
        }
        let heir =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active).max_by_key(|peer| peer.matched);
        if let Some(heir) = heir {
            // Refused only when this replica no longer leads, which is what is wanted.
            let _ = self.raft.transfer_leader(heir.id);
        }
    }

    /// What this replica holds cannot be trusted, or not understood.
    pub(crate) fn leave_service(&mut self, reason: String) {
        self.effects.push(Effect::LeaveService(reason));
    }

    pub(crate) fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.command(Command::Send(to, message));
    }

    /// To a replica of its group.
    pub(crate) fn send_replica(&mut self, to: ReplicaId, message: PeerMessage) {
        self.send(NodeId { replica: to, ..self.me() }, message);
    }

    pub(crate) fn command(&mut self, command: Command) {
        // Most handlers want nothing but commands: those need not pass through the buffer of effects.
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
