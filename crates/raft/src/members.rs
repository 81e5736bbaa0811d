use raft::eraftpb;
use std::collections::BTreeSet;

/// Who belongs to the group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Those whose votes and acknowledgements count.
    pub voters: BTreeSet<u64>,
    /// Those who only replicate.
    pub learners: BTreeSet<u64>,
}

impl Members {
    /// A group of these voters and no learners.
    pub fn of(voters: impl IntoIterator<Item = u64>) -> Self {
        Self { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// Whether `id` votes or learns here.
    pub fn contains(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    /// Whether nobody is known yet: a replica that waits for its first snapshot.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// Whether a group can be like this: it has a voter, nobody is both, nobody is 0.
    pub(crate) fn is_possible(&self) -> bool {
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
