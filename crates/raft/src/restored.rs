use crate::entry::Entry;
use crate::hard_state::HardState;
use crate::members::Members;

/// Durable state that a replica starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Newest hard state.
    pub hard_state: HardState,
    /// Members as of `applied`.
    pub members: Members,
    /// Index and term of the entry before the first one in the log.
    pub snapshot: (u64, u64),
    /// Log entries from `snapshot.0 + 1`, without gaps.
    pub entries: Vec<Entry>,
    /// Index of the last entry applied to the restored state.
    pub applied: u64,
}

impl Restored {
    /// Bootstraps a group: every initial voter starts with the same list, exactly once.
    ///
    /// The log begins after a virtual entry (1, 1) that stands for the list. A replica that joins later must therefore
    /// install a snapshot, which contains the members; no log entry does.
    pub fn bootstrap(voters: impl IntoIterator<Item = u64>) -> Self {
        Self {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            members: Members::of(voters),
            snapshot: (1, 1),
            entries: Vec::new(),
            applied: 1,
        }
    }

    /// A new replica that is to be added as a learner: it has no members, never votes, and waits for a snapshot.
    pub fn joining() -> Self {
        Self::default()
    }

    /// Validates everything that raft-rs would panic on, and raises a stale commit or term to what the log proves.
    pub(crate) fn check(mut self) -> Result<Self, RestoreError> {
        let (first, boundary_term) = self.snapshot;
        let (mut last, mut term) = (first, boundary_term);
        for entry in &self.entries {
            if entry.index != last + 1 {
                return Err(RestoreError::Gap { wanted: last + 1, found: entry.index });
            }
            if entry.term < term {
                return Err(RestoreError::TermFell { index: entry.index });
            }
            (last, term) = (entry.index, entry.term);
        }
        if self.applied < first || self.applied > last {
            return Err(RestoreError::AppliedOutside { applied: self.applied, first, last });
        }
        self.hard_state.commit = self.hard_state.commit.max(self.applied);
        if self.hard_state.commit > last {
            return Err(RestoreError::LogLost { commit: self.hard_state.commit, last });
        }
        if term > self.hard_state.term {
            // Entries are durable, the hard state written with them is not. A vote in that term would have been synced
            // before it was sent, so this replica did not vote.
            self.hard_state = HardState { term, vote: 0, ..self.hard_state };
        }
        let fresh = self.members.is_empty() && last == 0;
        if !fresh && (first == 0 || !self.members.is_valid()) {
            return Err(RestoreError::Members);
        }
        Ok(self)
    }
}

/// Why a replica must not start from this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The log has a gap.
    #[error("log index must be {wanted} (got {found})")]
    Gap {
        /// Expected index.
        wanted: u64,
        /// Index in the log.
        found: u64,
    },
    /// The terms of the log decrease.
    #[error("terms must not decrease (at log entry {index})")]
    TermFell {
        /// Index of the entry with the smaller term.
        index: u64,
    },
    /// The applied index is outside of the log.
    #[error("applied index must be in {first}..={last} (got {applied})")]
    AppliedOutside {
        /// Applied index of the state.
        applied: u64,
        /// Index just before the log.
        first: u64,
        /// Last index of the log.
        last: u64,
    },
    /// Committed entries are missing: this replica must not vote again, and rejoins under a new id.
    #[error("log lost: it ends at {last}, the commit index is {commit}")]
    LogLost {
        /// Known commit index.
        commit: u64,
        /// Last index of the log.
        last: u64,
    },
    /// The members are invalid, or do not match the log.
    #[error("members are invalid or do not match the log")]
    Members,
    /// raft-rs refuses the configuration.
    #[error("configuration: {0}")]
    Config(String),
}
