use raft::eraftpb;
use std::collections::BTreeSet;

/// The members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Members whose votes and acknowledgements count.
    pub voters: BTreeSet<u64>,
    /// Members that only replicate.
    pub learners: BTreeSet<u64>,
}

impl Members {
    /// A group of voters without learners.
    pub fn of(voters: impl IntoIterator<Item = u64>) -> Self {
        Self { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// Whether `id` is a voter or learner.
    pub fn contains(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    /// Whether there are no members: the state of a new replica before its first snapshot.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// Whether the group has a voter, no member is both voter and learner, and no id is 0.
    pub(crate) fn is_valid(&self) -> bool {
        !self.voters.is_empty() && self.voters.is_disjoint(&self.learners) && !self.contains(0)
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfState {
        eraftpb::ConfState {
            voters: self.voters.iter().copied().collect(),
            learners: self.learners.iter().copied().collect(),
            ..Default::default()
        }
    }

    pub(crate) fn from_raft(state: &eraftpb::ConfState) -> Self {
        Self { voters: state.voters.iter().copied().collect(), learners: state.learners.iter().copied().collect() }
    }
}
