//! Proposals, read indexes and leadership transfers.

use super::Raft;
use crate::message::{MAX_READ_CONTEXTS, ReadContext};
use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

/// Log position of a proposal, valid if its leader keeps the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed {
    /// Index. The proposal is committed if [`crate::Output::committed`] contains this index with this term.
    pub index: u64,
    /// The leader's term.
    pub term: u64,
}

/// Why a proposal was not appended; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica is not the leader.
    #[error("not the leader")]
    NotLeader {
        /// Known leader.
        leader: Option<u64>,
    },
    /// The limit of uncommitted bytes is reached; retry after commits.
    #[error("too many bytes uncommitted")]
    Overloaded,
    /// A leadership transfer is in progress; retry later.
    #[error("leadership is being transferred")]
    Transferring,
    /// The payload is empty or at least 1 GiB.
    #[error("payload length must be in 1..2^30 (got {0})")]
    Size(usize),
}

/// Why no read index was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader has not committed an entry of its term yet, so its commit index may be stale.
    #[error("leader has committed nothing in its term")]
    NoCommitInTerm,
    /// [`MAX_READ_CONTEXTS`] reads are pending.
    #[error("too many reads pending")]
    Overloaded,
}

/// Why no leadership transfer was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica is not the leader.
    #[error("not the leader")]
    NotLeader {
        /// Known leader.
        leader: Option<u64>,
    },
    /// The target is not a voter.
    #[error("{0} is not a voter")]
    NotVoter(u64),
}

/// Payload limit, well below that of the length field.
const MAX_PAYLOAD_BYTES: usize = 1 << 30;

impl Raft {
    /// Proposes a payload, on the leader.
    ///
    /// # Errors
    /// If it was not appended. An appended proposal may still be lost with its leader.
    pub fn propose(&mut self, payload: impl Into<Bytes>) -> Result<Proposed, ProposeError> {
        let payload = payload.into();
        if payload.is_empty() || payload.len() >= MAX_PAYLOAD_BYTES {
            return Err(ProposeError::Size(payload.len()));
        }
        self.check_can_propose()?;
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.config.id,
            entries: vec![Entry { data: payload, ..Default::default() }].into(),
            ..Default::default()
        };
        self.node.raft.step(message).map_err(|_| ProposeError::Overloaded)?;
        Ok(self.proposed())
    }

    pub(super) fn check_can_propose(&self) -> Result<(), ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if self.node.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        Ok(())
    }

    pub(super) fn proposed(&self) -> Proposed {
        Proposed { index: self.node.raft.raft_log.last_index(), term: self.node.raft.term }
    }

    /// Requests a read index (Raft thesis, section 6.4); the result is in [`crate::Output::reads`].
    ///
    /// The result may never arrive (lost message, new leader): retry with an unused `context`. A follower forwards the
    /// request to its leader. Each request costs the leader one round of heartbeats, so batch reads.
    ///
    /// # Errors
    /// If no result can arrive.
    pub fn read_index(&mut self, context: u64) -> Result<(), NotReady> {
        let raft = &self.node.raft;
        if raft.leader_id == 0 {
            return Err(NotReady::NoLeader);
        }
        if self.is_leader() {
            if !raft.commit_to_current_term() {
                return Err(NotReady::NoCommitInTerm);
            }
            if raft.pending_read_count() >= MAX_READ_CONTEXTS {
                return Err(NotReady::Overloaded);
            }
        }
        let read = ReadContext { id: self.config.id, incarnation: self.config.incarnation, context };
        self.node.read_index(read.encode());
        Ok(())
    }

    /// Transfers leadership to a voter once it has caught up; aborted after an election timeout.
    ///
    /// # Errors
    /// If this replica is not the leader, or `to` is not a voter.
    pub fn transfer_leader(&mut self, to: u64) -> Result<(), TransferError> {
        if !self.is_leader() {
            return Err(TransferError::NotLeader { leader: self.leader() });
        }
        if !self.node.raft.prs().conf().voters().contains(to) {
            return Err(TransferError::NotVoter(to));
        }
        self.node.transfer_leader(to);
        Ok(())
    }
}
