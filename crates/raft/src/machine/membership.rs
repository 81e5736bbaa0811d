//! Membership changes: one member at a time, learners first.

use super::Raft;
use super::propose::{ProposeError, Proposed};
use crate::entry::{Change, Entry, EntryKind, membership_context};
use crate::members::Members;
use bytes::Bytes;

/// Why a membership change was not proposed; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The proposal failed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// An earlier change is not applied yet, or this leader has not applied all entries of earlier terms.
    #[error("another change is under way")]
    Busy,
    /// The id to add is a member already, or 0.
    #[error("{0} cannot be added")]
    CannotAdd(u64),
    /// The id to promote is not a learner.
    #[error("{0} is not a learner")]
    NotLearner(u64),
    /// The id to remove is not a member.
    #[error("{0} is not a member")]
    NotMember(u64),
    /// The leader cannot remove itself: transfer leadership first.
    #[error("{0} is the leader; transfer leadership first")]
    Leads(u64),
}

/// Why a membership entry was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The entry is of another kind.
    #[error("entry {0} is not a membership entry")]
    OtherKind(u64),
    /// It is not the next one: each is applied once, in order, after it was output as committed.
    #[error("next membership entry must be {wanted:?} (got {found})")]
    OutOfOrder {
        /// Index of the next one.
        wanted: Option<u64>,
        /// Given index.
        found: u64,
    },
}

impl Raft {
    /// Proposes one membership change, on the leader. `context` is committed with it and opaque to this crate.
    ///
    /// # Errors
    /// If it was not appended. An appended change may still be lost with its leader.
    pub fn change_members(&mut self, change: Change, context: impl Into<Bytes>) -> Result<Proposed, ChangeError> {
        self.check_can_propose()?;
        if self.node.raft.has_pending_conf() {
            return Err(ChangeError::Busy);
        }
        let members = self.members();
        match change {
            Change::AddLearner(id) if id == 0 || members.contains(id) => return Err(ChangeError::CannotAdd(id)),
            Change::Promote(id) if !members.learners.contains(&id) => return Err(ChangeError::NotLearner(id)),
            Change::Remove(id) if !members.contains(id) => return Err(ChangeError::NotMember(id)),
            Change::Remove(id) if id == self.config.id => return Err(ChangeError::Leads(id)),
            _ => {}
        }
        let context = membership_context(change, &context.into());
        let proposed = self.node.propose_conf_change(context.to_vec(), change.to_raft());
        proposed.map_err(|_| ProposeError::Overloaded)?;
        Ok(self.proposed())
    }

    /// Whether a membership change is proposed and not applied.
    #[must_use]
    pub fn is_changing_members(&self) -> bool {
        self.node.raft.has_pending_conf()
    }

    /// Applies a committed membership entry in its turn, and returns the members after it.
    ///
    /// # Errors
    /// If the entry is not a membership entry, or not the next one.
    pub fn apply_membership(&mut self, entry: &Entry) -> Result<Members, MembershipError> {
        let EntryKind::Membership(change) = entry.kind else {
            return Err(MembershipError::OtherKind(entry.index));
        };
        let wanted = self.memberships.front().copied();
        if wanted != Some(entry.index) {
            return Err(MembershipError::OutOfOrder { wanted, found: entry.index });
        }
        self.memberships.pop_front();
        // An inapplicable change has no effect, equally on every replica.
        let _ = self.node.apply_conf_change(&change.to_raft());
        if self.is_leader() && change == Change::Remove(self.config.id) {
            // An earlier leader proposed it. raft-rs would keep leading, and panic at its next commit.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, 0);
        }
        Ok(self.members())
    }
}
