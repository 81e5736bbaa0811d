//! The group changes, one member at a time, learners first.

use super::Raft;
use super::propose::{ProposeError, Proposed};
use crate::entry::{Change, Entry, EntryKind, membership_context};
use crate::members::Members;
use bytes::Bytes;

/// Why a change was not proposed; nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It could not be proposed at all.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// An earlier change is not applied yet, or this leader has not applied its predecessors' entries.
    #[error("another change is under way")]
    Busy,
    /// To be added, but a member already (or 0, which nobody is).
    #[error("{0} cannot be added")]
    CannotAdd(u64),
    /// To be promoted, but no learner.
    #[error("{0} is not a learner")]
    NotLearner(u64),
    /// To be removed, but no member.
    #[error("{0} is not a member")]
    NotMember(u64),
    /// A leader does not remove itself: transfer the leadership first.
    #[error("{0} leads; transfer the leadership first")]
    Leads(u64),
}

/// Why a membership entry was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The entry is of another kind.
    #[error("entry {0} is not a membership entry")]
    OtherKind(u64),
    /// It is not the next one: each is applied once, in order, after it was handed out as committed.
    #[error("entry {found} where {wanted:?} is next")]
    OutOfTurn {
        /// The next one to apply.
        wanted: Option<u64>,
        /// The one given.
        found: u64,
    },
}

impl Raft {
    /// Proposes one change, on the leader. `context` is committed with it and opaque here.
    ///
    /// # Errors
    /// If it was refused. A change that was proposed may still be lost with its leader.
    pub fn change_members(&mut self, change: Change, context: impl Into<Bytes>) -> Result<Proposed, ChangeError> {
        self.may_propose()?;
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

    /// Applies a committed membership entry, at its turn among the committed entries, and returns the group after it.
    ///
    /// # Errors
    /// If the entry is no membership entry, or not the next one.
    pub fn apply_membership(&mut self, entry: &Entry) -> Result<Members, MembershipError> {
        let EntryKind::Membership(change) = entry.kind else {
            return Err(MembershipError::OtherKind(entry.index));
        };
        let wanted = self.memberships.front().copied();
        if wanted != Some(entry.index) {
            return Err(MembershipError::OutOfTurn { wanted, found: entry.index });
        }
        self.memberships.pop_front();
        // A change that does not fit the group changes nothing, on every replica alike.
        let _ = self.node.apply_conf_change(&change.to_raft());
        if self.is_leader() && change == Change::Remove(self.config.id) {
            // Proposed by an earlier leader. The library would go on leading, and panic at its next commit.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, 0);
        }
        Ok(self.members())
    }
}
