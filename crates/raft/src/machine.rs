//! The machine: its parts are one file each, by direction.

mod drive;
mod membership;
mod output;
mod propose;
mod status;
mod step;

pub use membership::{ChangeError, MembershipError};
pub use output::{Envelope, Output, Role, RoleChange};
pub use propose::{NotReady, ProposeError, Proposed, TransferError};
pub use status::{Compacted, Peer, PeerState, Status};
pub use step::{Ignored, Installation, StepError, Stepped};

use crate::config::Config;
use crate::log::{self, Log};
use crate::members::Members;
use crate::restored::{RestoreError, Restored};
use crate::snapshot::Snapshot;
use bytes::Bytes;
use raft::{RawNode, StateRole};
use std::collections::{BTreeMap, VecDeque};

/// One replica's part in its group.
///
/// After any call, drain [`Raft::output`]. Every output is to be persisted, in order, and reported by
/// [`Raft::persisted`]; every committed entry applied, in order, and reported by [`Raft::applied`].
pub struct Raft {
    node: RawNode<Log>,
    config: Config,
    /// Drawn anew whenever the election timer was reset.
    election_timeout: usize,
    /// The newest output that must be synced, and the newest that is persisted.
    must_sync: u64,
    persisted: u64,
    /// Term and vote last handed out for persisting.
    handed_vote: (u64, u64),
    /// The last committed entry handed out.
    handed_commit: u64,
    /// A snapshot handed out and not yet persisted: output number, index.
    installing: Option<(u64, u64)>,
    /// Membership entries handed out and not yet applied.
    memberships: VecDeque<u64>,
    /// Ticks each follower has spent in the snapshot state.
    snapshot_ticks: BTreeMap<u64, u32>,
}

impl Raft {
    /// Starts from what the disk holds. Nothing is sent or elected before the first [`Raft::tick`].
    ///
    /// # Errors
    /// If the parts contradict each other, above all if committed entries are gone. Such a replica must not vote: it
    /// is replaced by a new one that starts from [`Restored::joining`] under a new id.
    pub fn new(config: Config, restored: Restored) -> Result<Self, RestoreError> {
        let restored = restored.check()?;
        let hard_state = restored.hard_state;
        let handed_commit = restored.applied;
        let node = log::node(&config, restored).map_err(|error| RestoreError::Config(error.to_string()))?;
        Ok(Self {
            election_timeout: config.election_ticks,
            node,
            config,
            must_sync: 0,
            persisted: 0,
            handed_vote: (hard_state.term, hard_state.vote),
            handed_commit,
            installing: None,
            memberships: VecDeque::new(),
            snapshot_ticks: BTreeMap::new(),
        })
    }

    /// Who belongs to the group, as far as membership entries are applied here.
    pub fn members(&self) -> Members {
        Members::from_raft(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Drops log entries below `keep_from` from memory, never one that is not applied. Returns the first one left.
    pub fn compact(&mut self, keep_from: u64) -> u64 {
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().compact(keep_from.min(applied + 1));
        self.node.store().first()
    }

    /// Says what to offer a follower that needs entries from before the log: the state at `index`, an applied entry
    /// that is still in the log or just before it. `members` is the group as of `index`.
    ///
    /// # Errors
    /// If the log no longer knows the term of `index`, or `index` is not applied.
    pub fn snapshot_taken(
        &mut self,
        index: u64,
        members: Members,
        manifest: impl Into<Bytes>,
    ) -> Result<(), UnknownIndex> {
        let applied = self.node.raft.raft_log.applied;
        let known = self.node.store().term_at(index).filter(|_| index <= applied && members.is_possible());
        let term = known.ok_or(UnknownIndex { index, first: self.node.store().first() - 1, applied })?;
        self.node.mut_store().offer(Snapshot { index, term, members, manifest: manifest.into() });
        Ok(())
    }

    /// Whether a follower needs a snapshot and the one offered, if any, will not do: it is older than the log, or does
    /// not yet name that follower as a member. Stays true until [`Raft::snapshot_taken`].
    pub fn snapshot_wanted(&self) -> bool {
        self.node.store().is_snapshot_wanted()
    }

    fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0)
    }

    /// Whether the disk has everything this replica may have promised.
    ///
    /// Only then may it stand for election. The library asserts it for a group of one, which elects itself without
    /// waiting for a vote request to be persisted.
    fn is_settled(&self) -> bool {
        let raft = &self.node.raft;
        raft.raft_log.unstable_entries().is_empty()
            && raft.raft_log.unstable_snapshot().is_none()
            && self.installing.is_none()
            && self.must_sync <= self.persisted
            && self.handed_vote == (raft.term, raft.vote)
    }
}

/// The index of a snapshot that the log cannot place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("snapshot at {index}, but the log knows {first}..={applied}")]
pub struct UnknownIndex {
    /// The index asked for.
    pub index: u64,
    /// The smallest one whose term is known.
    pub first: u64,
    /// The largest one applied.
    pub applied: u64,
}
