use crate::entry::Entry;
use crate::hard_state::HardState;
use crate::members::Members;

/// What a replica found on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// The newest hard state.
    pub hard_state: HardState,
    /// The group as of `applied`.
    pub members: Members,
    /// Index and term of the entry just before the log begins.
    pub snapshot: (u64, u64),
    /// The log from `snapshot.0 + 1`, without gaps.
    pub entries: Vec<Entry>,
    /// The last entry the restored state has applied.
    pub applied: u64,
}

impl Restored {
    /// The birth of a group: every initial voter begins with the same list, exactly once.
    ///
    /// The log begins behind an agreed entry (1, 1) that stands for the list, so whoever joins later must take a
    /// snapshot, and with it the members, which no log entry tells.
    pub fn bootstrap(voters: impl IntoIterator<Item = u64>) -> Self {
        Self {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            members: Members::of(voters),
            snapshot: (1, 1),
            entries: Vec::new(),
            applied: 1,
        }
    }

    /// A new replica that will be added as a learner: it knows nobody, never votes, and waits for a snapshot.
    pub fn joining() -> Self {
        Self::default()
    }

    /// Checks what the library would panic over, and lifts a stale commit or term to what the rest proves.
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
            // Entries reached the disk, the hard state written with them did not. A vote in that term would have been
            // synced before it was sent, so there was none.
            self.hard_state = HardState { term, vote: 0, ..self.hard_state };
        }
        let fresh = self.members.is_empty() && last == 0;
        if !fresh && (first == 0 || !self.members.is_possible()) {
            return Err(RestoreError::Members);
        }
        Ok(self)
    }
}

/// Why a replica must not start from what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The log has a hole.
    #[error("log entry {found} where {wanted} belongs")]
    Gap {
        /// The index that belongs there.
        wanted: u64,
        /// The index found.
        found: u64,
    },
    /// Terms fall along the log.
    #[error("term falls at log entry {index}")]
    TermFell {
        /// The entry with the smaller term.
        index: u64,
    },
    /// The state is older than the log's beginning, or newer than its end.
    #[error("applied {applied} lies outside of the log {first}..={last}")]
    AppliedOutside {
        /// What the state has applied.
        applied: u64,
        /// The log's boundary.
        first: u64,
        /// The log's end.
        last: u64,
    },
    /// Committed entries are missing: this replica must not vote again, and returns under a new id.
    #[error("log ends at {last}, committed was {commit}")]
    LogLost {
        /// What was known committed.
        commit: u64,
        /// Where the log ends.
        last: u64,
    },
    /// Members without a log they stand for, or a group that cannot be.
    #[error("members do not fit the log")]
    Members,
    /// The configuration is refused.
    #[error("configuration: {0}")]
    Config(String),
}
