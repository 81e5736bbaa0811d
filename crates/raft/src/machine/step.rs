//! What other replicas tell this one.

use super::Raft;
use crate::codec::DecodeError;
use crate::message::{self, MAX_READ_CONTEXTS, ReadContext};
use crate::snapshot::Snapshot;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// Taken in.
    Done,
    /// Dropped, as the protocol allows.
    Ignored(Ignored),
    /// A snapshot this replica needs. Fetch and verify what its manifest names, however long that takes, then call
    /// [`Raft::accept_snapshot`]; until then nothing is acknowledged. The leader offers it again from time to time,
    /// or a newer one; either may be accepted.
    Snapshot(Snapshot),
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// From a replica that is not, or no longer, a member.
    NotMember,
    /// From an earlier term.
    Stale,
    /// A read for a leader, and this is none.
    NotLeader,
    /// More reads than a leader keeps, or one before its term's first commit.
    NotReady,
    /// A vote asked of a replica that knows no group, or an election asked of one whose disk is behind.
    NotElectable,
    /// A snapshot of a group that does not name this replica yet.
    NotNamed,
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not a message of ours.
    #[error("decode message")]
    Decode(#[from] DecodeError),
    /// For another replica, or from this one.
    #[error("message from {from} to {to}, this is {here}")]
    Misdirected {
        /// The sender.
        from: u64,
        /// The receiver it names.
        to: u64,
        /// This replica.
        here: u64,
    },
    /// The leader counts on entries that this replica has lost: it must stop, and return under a new id.
    #[error("leader counts on entry {wanted}, the log ends at {last}")]
    LogLost {
        /// What the leader knows this replica had.
        wanted: u64,
        /// Where the log ends.
        last: u64,
    },
    /// An acknowledgement of entries that this leader never sent.
    #[error("{from} acknowledges {index}, the log ends at {last}")]
    Acknowledged {
        /// The sender.
        from: u64,
        /// What it acknowledges.
        index: u64,
        /// Where the log ends.
        last: u64,
    },
    /// The library refuses it.
    #[error("refused: {0}")]
    Refused(String),
}

/// What became of a snapshot that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// The next [`crate::Output::snapshot`] is it.
    Accepted,
    /// The log has come as far by itself; what was fetched may be dropped.
    Superseded,
    /// Not in this moment: no leader is known, or another one is being installed. Try again later.
    NotNow,
    /// Its group does not name this replica.
    NotNamed,
}

impl Raft {
    /// Takes in a message from a peer.
    ///
    /// # Errors
    /// If the bytes are not a message for this replica, or tell of something impossible. Nothing changed then.
    pub fn step(&mut self, message: &[u8]) -> Result<Stepped, StepError> {
        let message = message::decode(message)?;
        let (from, to, here) = (message.from, message.to, self.config.id);
        if to != here || from == here {
            return Err(StepError::Misdirected { from, to, here });
        }
        let current = message.term == self.node.raft.term;
        match message.msg_type {
            MessageType::MsgSnapshot => return self.offered(message),
            MessageType::MsgHeartbeat | MessageType::MsgAppend if current && self.is_leader() => {
                return Ok(Stepped::Ignored(Ignored::Stale));
            }
            MessageType::MsgHeartbeat => self.has_what_leader_knows(&message)?,
            MessageType::MsgAppendResponse if current && self.is_leader() => {
                self.sent_what_is_acknowledged(&message)?
            }
            MessageType::MsgReadIndex => {
                if let Some(why) = self.refuses_read(&message) {
                    return Ok(Stepped::Ignored(why));
                }
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if self.members().is_empty() => {
                return Ok(Stepped::Ignored(Ignored::NotElectable));
            }
            MessageType::MsgTimeoutNow if !self.is_settled() => {
                return Ok(Stepped::Ignored(Ignored::NotElectable));
            }
            _ => {}
        }
        self.pass(message)
    }

    /// Installs a snapshot whose files are fetched, verified and durable. It may come from an earlier leader or from
    /// before a restart: what was committed stays true.
    pub fn accept_snapshot(&mut self, snapshot: &Snapshot) -> Installation {
        let raft = &self.node.raft;
        if self.has(snapshot) {
            return Installation::Superseded;
        }
        if !snapshot.members.contains(self.config.id) {
            return Installation::NotNamed;
        }
        let busy = self.installing.is_some() || raft.raft_log.unstable_snapshot().is_some();
        if busy || raft.state != StateRole::Follower || raft.leader_id == 0 || snapshot.term > raft.term {
            return Installation::NotNow;
        }
        // As if the present leader had sent it just now, so that the answer goes there.
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
            _ => Installation::NotNow,
        }
    }

    fn pass(&mut self, message: Message) -> Result<Stepped, StepError> {
        match self.node.step(message) {
            Ok(()) => Ok(Stepped::Done),
            Err(raft::Error::StepPeerNotFound) => Ok(Stepped::Ignored(Ignored::NotMember)),
            Err(other) => Err(StepError::Refused(other.to_string())),
        }
    }

    fn has(&self, snapshot: &Snapshot) -> bool {
        let log = &self.node.raft.raft_log;
        snapshot.index <= log.committed || log.match_term(snapshot.index, snapshot.term)
    }

    fn offered(&mut self, message: Message) -> Result<Stepped, StepError> {
        let snapshot = Snapshot::from_raft(message.get_snapshot());
        if message.term < self.node.raft.term || (message.term == self.node.raft.term && self.is_leader()) {
            return Ok(Stepped::Ignored(Ignored::Stale));
        }
        if !snapshot.members.contains(self.config.id) {
            return Ok(Stepped::Ignored(Ignored::NotNamed));
        }
        // What is here already is acknowledged at once.
        if self.has(&snapshot) { self.pass(message) } else { Ok(Stepped::Snapshot(snapshot)) }
    }

    /// A heartbeat's commit is bounded by what this replica acknowledged.
    fn has_what_leader_knows(&self, message: &Message) -> Result<(), StepError> {
        let last = self.node.raft.raft_log.last_index();
        if message.term >= self.node.raft.term && message.commit > last {
            return Err(StepError::LogLost { wanted: message.commit, last });
        }
        Ok(())
    }

    fn sent_what_is_acknowledged(&self, message: &Message) -> Result<(), StepError> {
        let last = self.node.raft.raft_log.last_index();
        let index = message.index.max(message.reject_hint);
        if index > last {
            return Err(StepError::Acknowledged { from: message.from, index, last });
        }
        Ok(())
    }

    fn refuses_read(&self, message: &Message) -> Option<Ignored> {
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
