//! What this replica asks of the group.

use super::Raft;
use crate::message::{MAX_READ_CONTEXTS, ReadContext};
use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

/// Where a proposal stands in the log, if its leader keeps the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed {
    /// Its index. Committed is what comes out of [`crate::Output::committed`] with this index and this term.
    pub index: u64,
    /// The leader's term.
    pub term: u64,
}

/// Why a proposal was not appended; nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads, or none.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<u64>,
    },
    /// Too much is uncommitted; wait for commits.
    #[error("too many bytes uncommitted")]
    Overloaded,
    /// The leadership is being handed over; ask again soon.
    #[error("leadership is being transferred")]
    Transferring,
    /// The payload is empty, or 1 GiB and more.
    #[error("payload of {0} bytes")]
    Size(usize),
}

/// Why no read was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// This leader has not yet committed an entry of its term, so it does not know what is committed.
    #[error("leader has committed nothing in its term")]
    NoCommitInTerm,
    /// [`MAX_READ_CONTEXTS`] reads wait already.
    #[error("too many reads pending")]
    Overloaded,
}

/// Why leadership stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Another replica leads, or none.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<u64>,
    },
    /// The heir has no vote.
    #[error("{0} is not a voter")]
    NotVoter(u64),
}

/// Far below what a length field can say.
const MAX_PAYLOAD_BYTES: usize = 1 << 30;

impl Raft {
    /// Appends a payload, on the leader.
    ///
    /// # Errors
    /// If it was not appended. One that was appended may still be lost with its leader, unknown to this replica.
    pub fn propose(&mut self, payload: impl Into<Bytes>) -> Result<Proposed, ProposeError> {
        let payload = payload.into();
        if payload.is_empty() || payload.len() >= MAX_PAYLOAD_BYTES {
            return Err(ProposeError::Size(payload.len()));
        }
        self.may_propose()?;
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.config.id,
            entries: vec![Entry { data: payload, ..Default::default() }].into(),
            ..Default::default()
        };
        self.node.raft.step(message).map_err(|_| ProposeError::Overloaded)?;
        Ok(self.proposed())
    }

    pub(super) fn may_propose(&self) -> Result<(), ProposeError> {
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

    /// Asks the group for the index a read must wait for; the answer comes in [`crate::Output::reads`].
    ///
    /// An answer may never come (a message lost, a leader gone or too new): ask again with a `context` never used
    /// before. A follower asks its leader; asking costs the leader one round of heartbeats, so ask for many reads at
    /// once.
    ///
    /// # Errors
    /// If it is known already that no answer would come.
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

    /// Hands the leadership to a voter, when it has caught up; given up after an election timeout.
    ///
    /// # Errors
    /// If this replica does not lead, or `to` does not vote.
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
