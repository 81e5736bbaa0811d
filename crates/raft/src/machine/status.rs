//! Status of a replica and its group.

use super::Raft;
use super::output::Role;
use crate::entry::Entry;
use crate::members::Members;
use raft::{Progress, ProgressState};

/// One replica's view of its group, for status reports and the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Id of this replica.
    pub id: u64,
    /// Current term.
    pub term: u64,
    /// Current role.
    pub role: Role,
    /// Known leader.
    pub leader: Option<u64>,
    /// Newest index known to be committed.
    pub commit: u64,
    /// Newest applied index.
    pub applied: u64,
    /// The first index in the log; one more than the last if the log is empty.
    pub first_index: u64,
    /// The last index in the log.
    pub last_index: u64,
    /// Members.
    pub members: Members,
    /// Target of a leadership transfer in progress.
    pub transferring_to: Option<u64>,
    /// On the leader: the progress of every other member, by id.
    pub peers: Vec<Peer>,
}

/// Replication progress of one member, on the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Id of the member.
    pub id: u64,
    /// Whether it is a voter.
    pub voter: bool,
    /// Newest index known to be durable there.
    pub matched: u64,
    /// Replication state.
    pub state: PeerState,
    /// Whether it was active since the last quorum check.
    pub recently_active: bool,
}

impl Peer {
    /// Whether it follows a log that ends at `last_index`: appends are streamed to it, or it has everything.
    ///
    /// A peer enters `Replicate` only when it acknowledges an append. Without proposals nothing is appended, so one
    /// that has everything may stay in `Probe`.
    #[must_use]
    pub fn follows(&self, last_index: u64) -> bool {
        match self.state {
            PeerState::Replicate => true,
            PeerState::Probe => self.matched == last_index,
            PeerState::Snapshot => false,
        }
    }
}

/// How entries are replicated to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// One message at a time, until the matching index is found.
    Probe,
    /// Pipelined appends.
    Replicate,
    /// A snapshot was offered; the result is awaited.
    Snapshot,
}

/// Requested entries are compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log begins at {first_index}")]
pub struct Compacted {
    /// Oldest index in the log.
    pub first_index: u64,
}

impl Raft {
    /// Current hard state, to be rewritten before older records of it are released.
    pub fn hard_state(&self) -> crate::HardState {
        crate::HardState::from_raft(&self.node.raft.hard_state())
    }

    /// Status snapshot.
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let peers = if self.is_leader() { self.peers() } else { Vec::new() };
        Status {
            id: raft.id,
            term: raft.term,
            role: raft.state.into(),
            leader: self.leader(),
            commit: raft.raft_log.committed,
            applied: raft.raft_log.applied,
            first_index: raft.raft_log.first_index(),
            last_index: raft.raft_log.last_index(),
            members: self.members(),
            transferring_to: raft.lead_transferee,
            peers,
        }
    }

    /// The first index in the log; one more than the last if the log is empty. Cheaper than [`Raft::status`].
    pub fn first_index(&self) -> u64 {
        self.node.raft.raft_log.first_index()
    }

    /// Committed entries from `from` on, up to `max_bytes` but at least one if there is one.
    ///
    /// # Errors
    /// If `from` is before the log.
    pub fn entries(&self, from: u64, max_bytes: u64) -> Result<Vec<Entry>, Compacted> {
        let log = self.node.store();
        if from < log.first() {
            return Err(Compacted { first_index: log.first() });
        }
        let end = self.node.raft.raft_log.committed.min(log.last()) + 1;
        let range = if from < end { log.range(from, end, max_bytes) } else { Vec::new() };
        Ok(range.into_iter().map(Entry::from_raft).collect())
    }

    /// The term of the entry at `index`, which may be the one just before the log.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        self.node.store().term_at(index)
    }

    /// How many have a vote. Cheaper than [`Raft::members`].
    pub fn voter_count(&self) -> usize {
        self.node.raft.prs().conf().voters().ids().len()
    }

    /// Whether `id` is a voter or a learner. Cheaper than [`Raft::members`].
    pub fn is_member(&self, id: u64) -> bool {
        let group = self.node.raft.prs().conf();
        group.voters().contains(id) || group.learners().contains(&id)
    }

    /// Whether this replica is a learner.
    pub fn is_learner(&self) -> bool {
        self.node.raft.prs().conf().learners().contains(&self.config.id)
    }

    fn peers(&self) -> Vec<Peer> {
        let progress = self.node.raft.prs();
        let voters = progress.conf().voters();
        let peer = |(id, progress): (&u64, &Progress)| Peer {
            id: *id,
            voter: voters.contains(*id),
            matched: progress.matched,
            state: match progress.state {
                ProgressState::Probe => PeerState::Probe,
                ProgressState::Replicate => PeerState::Replicate,
                ProgressState::Snapshot => PeerState::Snapshot,
            },
            recently_active: progress.recent_active,
        };
        let mut peers: Vec<Peer> = progress.iter().filter(|(id, _)| **id != self.config.id).map(peer).collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        peers
    }
}
