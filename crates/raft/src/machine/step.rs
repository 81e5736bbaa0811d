//! Messages from other replicas.

use super::Raft;
use crate::codec::DecodeError;
use crate::message::{self, MAX_READ_CONTEXTS, ReadContext};
use crate::snapshot::Snapshot;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

/// Result of [`Raft::step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// Processed.
    Done,
    /// Dropped, as the protocol allows.
    Ignored(Ignored),
    /// A snapshot that this replica needs. Fetch and verify the files of its manifest, then call
    /// [`Raft::accept_snapshot`]; until then nothing is acknowledged. The leader repeats the offer or offers a newer
    /// one; either may be accepted.
    Snapshot(Snapshot),
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The sender is not a member, or no longer.
    NotMember,
    /// The message is of an earlier term.
    Stale,
    /// A read index request, but this replica is not the leader.
    NotLeader,
    /// Too many pending reads, or no entry of the leader's term is committed yet.
    NotReady,
    /// A vote request to a replica without members, or a transfer to one with output that is not persisted.
    NotElectable,
    /// The members of the snapshot do not contain this replica yet.
    NotInSnapshot,
}

/// Why a message was refused; it changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The bytes cannot be decoded.
    #[error("decode message")]
    Decode(#[from] DecodeError),
    /// The receiver is another replica, or the sender is this one.
    #[error("message from {from} to {to}, this is {here}")]
    Misdirected {
        /// The sender.
        from: u64,
        /// The receiver.
        to: u64,
        /// This replica.
        here: u64,
    },
    /// The leader's commit index for this replica is beyond its log: it lost entries, must stop, and rejoin under a new id.
    #[error("log lost: the leader committed entry {wanted} here, the log ends at {last}")]
    LogLost {
        /// Commit index in the heartbeat.
        wanted: u64,
        /// Last index of the log.
        last: u64,
    },
    /// The sender acknowledges entries that this leader never sent.
    #[error("{from} acknowledges {index}, the log ends at {last}")]
    Acknowledged {
        /// The sender.
        from: u64,
        /// Acknowledged index.
        index: u64,
        /// Last index of the log.
        last: u64,
    },
    /// raft-rs refuses the message.
    #[error("refused: {0}")]
    Refused(String),
}

/// Result of [`Raft::accept_snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// The next [`crate::Output::snapshot`] is this one.
    Accepted,
    /// The log has caught up by itself; the fetched files are unnecessary.
    Superseded,
    /// Not possible now: no leader is known, or another snapshot is being installed. Retry later.
    Busy,
    /// The members of the snapshot do not contain this replica.
    NotMember,
}

impl Raft {
    /// Processes a message from a peer.
    ///
    /// # Errors
    /// If the bytes are not a valid message for this replica, or violate an invariant. Nothing changed then.
    pub fn step(&mut self, message: &[u8]) -> Result<StepOutcome, StepError> {
        let message = message::decode(message)?;
        let (from, to, here) = (message.from, message.to, self.config.id);
        if to != here || from == here {
            return Err(StepError::Misdirected { from, to, here });
        }
        let current = message.term == self.node.raft.term;
        match message.msg_type {
            MessageType::MsgSnapshot => return self.handle_snapshot_offer(message),
            MessageType::MsgHeartbeat | MessageType::MsgAppend if current && self.is_leader() => {
                return Ok(StepOutcome::Ignored(Ignored::Stale));
            }
            MessageType::MsgHeartbeat => self.check_heartbeat_commit(&message)?,
            MessageType::MsgAppendResponse if current && self.is_leader() => self.check_acknowledged_index(&message)?,
            MessageType::MsgReadIndex => {
                if let Some(why) = self.read_refusal(&message) {
                    return Ok(StepOutcome::Ignored(why));
                }
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if self.members().is_empty() => {
                return Ok(StepOutcome::Ignored(Ignored::NotElectable));
            }
            MessageType::MsgTimeoutNow if !self.is_persisted() => {
                return Ok(StepOutcome::Ignored(Ignored::NotElectable));
            }
            _ => {}
        }
        self.step_library(message)
    }

    /// Installs a snapshot whose files are fetched, verified and durable. It may have been offered by an earlier leader
    /// or before a restart: committed state stays valid.
    pub fn accept_snapshot(&mut self, snapshot: &Snapshot) -> Installation {
        let raft = &self.node.raft;
        if self.has(snapshot) {
            return Installation::Superseded;
        }
        if !snapshot.members.contains(self.config.id) {
            return Installation::NotMember;
        }
        let busy = self.installing.is_some() || raft.raft_log.unstable_snapshot().is_some();
        if busy || raft.state != StateRole::Follower || raft.leader_id == 0 || snapshot.term > raft.term {
            return Installation::Busy;
        }
        // As if the current leader had just sent it, so that the acknowledgement goes there.
        let message = Message {
            msg_type: MessageType::MsgSnapshot,
            to: self.config.id,
            from: raft.leader_id,
            term: raft.term,
            snapshot: Some(snapshot.to_raft()).into(),
            ..Default::default()
        };
        match self.node.step(message) {
            Ok(()) if self.node.raft.raft_log.unstable_snapshot().is_some() => Installation::Accepted,
            _ => Installation::Busy,
        }
    }

    fn step_library(&mut self, message: Message) -> Result<StepOutcome, StepError> {
        match self.node.step(message) {
            Ok(()) => Ok(StepOutcome::Done),
            Err(raft::Error::StepPeerNotFound) => Ok(StepOutcome::Ignored(Ignored::NotMember)),
            Err(other) => Err(StepError::Refused(other.to_string())),
        }
    }

    fn has(&self, snapshot: &Snapshot) -> bool {
        let log = &self.node.raft.raft_log;
        snapshot.index <= log.committed || log.match_term(snapshot.index, snapshot.term)
    }

    fn handle_snapshot_offer(&mut self, message: Message) -> Result<StepOutcome, StepError> {
        let snapshot = Snapshot::from_raft(message.get_snapshot());
        if message.term < self.node.raft.term || (message.term == self.node.raft.term && self.is_leader()) {
            return Ok(StepOutcome::Ignored(Ignored::Stale));
        }
        if !snapshot.members.contains(self.config.id) {
            return Ok(StepOutcome::Ignored(Ignored::NotInSnapshot));
        }
        // raft-rs acknowledges a snapshot within the log at once.
        if self.has(&snapshot) { self.step_library(message) } else { Ok(StepOutcome::Snapshot(snapshot)) }
    }

    /// A heartbeat's commit index never exceeds what this replica acknowledged.
    fn check_heartbeat_commit(&self, message: &Message) -> Result<(), StepError> {
        let last = self.node.raft.raft_log.last_index();
        if message.term >= self.node.raft.term && message.commit > last {
            return Err(StepError::LogLost { wanted: message.commit, last });
        }
        Ok(())
    }

    fn check_acknowledged_index(&self, message: &Message) -> Result<(), StepError> {
        let last = self.node.raft.raft_log.last_index();
        let index = message.index.max(message.reject_hint);
        if index > last {
            return Err(StepError::Acknowledged { from: message.from, index, last });
        }
        Ok(())
    }

    fn read_refusal(&self, message: &Message) -> Option<Ignored> {
        let raft = &self.node.raft;
        let context = message.entries.first().and_then(|entry| ReadContext::decode(&entry.data));
        if !self.is_leader() {
            return Some(Ignored::NotLeader);
        }
        if raft.prs().get(message.from).is_none() || context.is_none_or(|context| context.id != message.from) {
            return Some(Ignored::NotMember);
        }
        let ready = raft.commit_to_current_term() && raft.pending_read_count() < MAX_READ_CONTEXTS;
        (!ready).then_some(Ignored::NotReady)
    }
}
