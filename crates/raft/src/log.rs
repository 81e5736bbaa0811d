//! The in-memory log, as raft-rs's `Storage`.

use crate::config::Config;
use crate::restored::Restored;
use crate::snapshot::Snapshot;
use raft::eraftpb::{ConfState, Entry, HardState};
use raft::{Error, GetEntriesContext, RaftState, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

/// Bytes per entry besides its payload, for size limits.
const ENTRY_OVERHEAD: u64 = 24;

/// All entries output for persisting, durable or not, and the snapshot offered to lagging followers.
pub(crate) struct Log {
    initial: (HardState, ConfState),
    boundary: (u64, u64),
    entries: VecDeque<Entry>,
    offered: Option<Snapshot>,
    wanted: Cell<bool>,
}

impl Log {
    pub(crate) fn new(restored: Restored) -> Self {
        Self {
            initial: (restored.hard_state.to_raft(), restored.members.to_raft()),
            boundary: restored.snapshot,
            entries: restored.entries.into_iter().map(crate::Entry::into_raft).collect(),
            offered: None,
            wanted: Cell::new(false),
        }
    }

    pub(crate) fn first(&self) -> u64 {
        self.boundary.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.boundary.0 + self.entries.len() as u64
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.boundary.0)? {
            0 => Some(self.boundary.1),
            nth => Some(self.entries.get(usize::try_from(nth - 1).ok()?)?.term),
        }
    }

    /// Appends entries and truncates those that they replace.
    pub(crate) fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        let kept = first.index.checked_sub(self.first()).expect("committed entries are never replaced");
        assert!(kept <= self.entries.len() as u64, "the library appends without gaps");
        self.entries.truncate(kept as usize);
        self.entries.extend(new.iter().cloned());
    }

    pub(crate) fn compact(&mut self, keep_from: u64) {
        while self.first() < keep_from {
            let Some(gone) = self.entries.pop_front() else { return };
            self.boundary = (gone.index, gone.term);
        }
    }

    pub(crate) fn reset_to(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.boundary = (index, term);
        // The offer described the previous state.
        self.offered = None;
    }

    pub(crate) fn offer(&mut self, snapshot: Snapshot) {
        self.wanted.set(false);
        self.offered = Some(snapshot);
    }

    pub(crate) fn is_snapshot_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Entries of `low..high` up to `max_bytes`, at least one if there is one.
    pub(crate) fn range(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let (from, until) = ((low - self.first()) as usize, (high - self.first()) as usize);
        let mut left = Some(max_bytes);
        let fits = |entry: &&Entry| {
            let size = (entry.data.len() + entry.context.len()) as u64 + ENTRY_OVERHEAD;
            let before = left;
            left = left.and_then(|left| left.checked_sub(size));
            left.is_some() || before == Some(max_bytes)
        };
        self.entries.range(from..until).take_while(fits).cloned().collect()
    }
}

impl raft::Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.clone(), self.initial.1.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        Ok(self.range(low, high, max_size.into().unwrap_or(u64::MAX)))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.boundary.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or(Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Offers the snapshot only if the follower can use it: the log continues after it, and its members contain the
    /// follower.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<raft::eraftpb::Snapshot> {
        let usable = |offer: &&Snapshot| {
            offer.index >= request_index && offer.index >= self.boundary.0 && offer.members.contains(to)
        };
        match self.offered.as_ref().filter(usable) {
            Some(offer) => Ok(offer.to_raft()),
            None => {
                self.wanted.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

/// raft-rs's slog output is discarded; [`crate::Status`] and [`crate::RoleChange`] report everything of interest.
pub(crate) fn node(config: &Config, restored: Restored) -> raft::Result<raft::RawNode<Log>> {
    let applied = restored.applied;
    let silent = slog::Logger::root(slog::Discard, slog::o!());
    raft::RawNode::new(&config.to_raft(applied), Log::new(restored), &silent)
}
