//! The Raft state machine, one file per direction of calls.

mod membership;
mod output;
mod propose;
mod status;
mod step;
mod tick;

pub use membership::{ChangeError, MembershipError};
pub use output::{Envelope, Output, Role, RoleChange};
pub use propose::{NotReady, ProposeError, Proposed, TransferError};
pub use status::{Compacted, Peer, PeerState, Status};
pub use step::{Ignored, Installation, StepError, StepOutcome};

use crate::config::Config;
use crate::log::{self, Log};
use crate::members::Members;
use crate::restored::{RestoreError, Restored};
use crate::snapshot::Snapshot;
use bytes::Bytes;
use raft::{RawNode, StateRole};
use std::collections::{BTreeMap, VecDeque};

/// The Raft state machine of one replica.
///
/// After any call, drain [`Raft::output`]. Every output is to be persisted, in order, and reported by
/// [`Raft::persisted`]; every committed entry applied, in order, and reported by [`Raft::applied`].
///
/// ```
/// use meridian_raft::{Config, EntryKind, Raft, Restored};
///
/// /// Carries out all outputs; a group of one replica sends no messages.
/// fn drain(raft: &mut Raft) -> Vec<Vec<u8>> {
///     let mut applied = Vec::new();
///     while let Some(output) = raft.output() {
///         // Here a shell writes and syncs `output.entries` and `output.hard_state`.
///         raft.persisted(output.number);
///         for entry in output.committed {
///             if entry.kind == EntryKind::Payload {
///                 applied.push(entry.payload.to_vec());
///             }
///             raft.applied(entry.index);
///         }
///     }
///     applied
/// }
///
/// let mut raft = Raft::new(Config::new(1, 1), Restored::bootstrap([1]))?;
/// raft.campaign();
/// drain(&mut raft);
/// raft.propose(b"x".to_vec())?;
/// assert_eq!(drain(&mut raft), [b"x"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Raft {
    node: RawNode<Log>,
    config: Config,
    /// Current election timeout, redrawn at each reset of the timer.
    election_timeout: usize,
    /// Newest output that must be synced, and newest persisted output.
    must_sync: u64,
    persisted: u64,
    /// Term and vote of the last output.
    output_vote: (u64, u64),
    /// Index of the last committed entry output.
    output_commit: u64,
    /// A snapshot that is output and not yet persisted: output number, index.
    installing: Option<(u64, u64)>,
    /// Indexes of membership entries that are output and not yet applied.
    memberships: VecDeque<u64>,
    /// Ticks that each follower has been in the snapshot state.
    snapshot_ticks: BTreeMap<u64, u32>,
}

impl Raft {
    /// Starts from durable state. Nothing is sent before the first [`Raft::tick`].
    ///
    /// # Errors
    /// If the state is inconsistent, above all if committed entries are missing. Such a replica must not vote: it is
    /// replaced by one that starts from [`Restored::joining`] under a new id.
    pub fn new(config: Config, restored: Restored) -> Result<Self, RestoreError> {
        let restored = restored.check()?;
        let hard_state = restored.hard_state;
        let output_commit = restored.applied;
        let node = log::node(&config, restored).map_err(|error| RestoreError::Config(error.to_string()))?;
        Ok(Self {
            election_timeout: config.election_ticks,
            node,
            config,
            must_sync: 0,
            persisted: 0,
            output_vote: (hard_state.term, hard_state.vote),
            output_commit,
            installing: None,
            memberships: VecDeque::new(),
            snapshot_ticks: BTreeMap::new(),
        })
    }

    /// Current members, by the membership entries applied here.
    pub fn members(&self) -> Members {
        Members::from_raft(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Drops log entries below `keep_from` from memory, only applied ones. Returns the first index left.
    pub fn compact(&mut self, keep_from: u64) -> u64 {
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().compact(keep_from.min(applied + 1));
        self.node.store().first()
    }

    /// Sets the snapshot to offer to followers that need earlier entries: the state at `index`, an applied entry that
    /// is in the log or just before it. `members` are those as of `index`.
    ///
    /// # Errors
    /// If the log no longer contains the term of `index`, or `index` is not applied.
    pub fn snapshot_taken(
        &mut self,
        index: u64,
        members: Members,
        manifest: impl Into<Bytes>,
    ) -> Result<(), UnknownIndex> {
        let applied = self.node.raft.raft_log.applied;
        let known = self.node.store().term_at(index).filter(|_| index <= applied && members.is_valid());
        let term = known.ok_or(UnknownIndex { index, first: self.node.store().first() - 1, applied })?;
        self.node.mut_store().offer(Snapshot { index, term, members, manifest: manifest.into() });
        Ok(())
    }

    /// Whether a follower needs a snapshot and the offered one is unusable: none, older than the log, or without that
    /// follower as a member. Stays true until [`Raft::snapshot_taken`].
    pub fn snapshot_wanted(&self) -> bool {
        self.node.store().is_snapshot_wanted()
    }

    /// Whether this replica leads. Cheaper than [`Raft::status`].
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// The known leader. Cheaper than [`Raft::status`].
    pub fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0)
    }

    /// Whether everything that this replica may have promised is durable.
    ///
    /// Required for a candidacy. raft-rs asserts it for a group of one, which elects itself without waiting for a
    /// persisted vote request.
    fn is_persisted(&self) -> bool {
        let raft = &self.node.raft;
        raft.raft_log.unstable_entries().is_empty()
            && raft.raft_log.unstable_snapshot().is_none()
            && self.installing.is_none()
            && self.must_sync <= self.persisted
            && self.output_vote == (raft.term, raft.vote)
    }
}

/// A snapshot index that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("snapshot index must be in {first}..={applied} (got {index})")]
pub struct UnknownIndex {
    /// The given index.
    pub index: u64,
    /// Smallest index with a known term.
    pub first: u64,
    /// Newest applied index.
    pub applied: u64,
}
