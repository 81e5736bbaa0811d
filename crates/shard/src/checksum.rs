//! The replica checksum: a hash of the whole state.

use std::num::NonZeroU64;

use meridian_model::LogIndex;

use crate::State;

/// Entries between two checksums, unless [`State::checksum_every`] changes it.
pub(crate) const EVERY: u64 = 4096;
/// Number of own checksums kept for comparison: the leader's entry arrives well within the next interval.
const KEPT: usize = 4;

impl State {
    /// A hash of everything that the replicas of a shard agree on; equal after equal logs. Points contribute through
    /// sums that are updated with each change, so the cost is independent of their number.
    #[must_use]
    pub fn checksum(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&postcard::to_stdvec(&self.core).expect("the core holds nothing that postcard cannot write"));
        if let Some(since_2) = self.core.since_2() {
            hasher.update(&postcard::to_stdvec(&since_2).expect("a number"));
        }
        for (uid, collection) in self.collections.iter() {
            let head = (uid, collection.def(), collection.points());
            hasher.update(&postcard::to_stdvec(&head).expect("names and numbers"));
            hasher.update(&collection.digest().to_bytes());
            hasher.update(&collection.places().to_bytes());
        }
        hasher.update(&self.write_ids.digest().to_bytes());
        hasher.update(&self.write_ids.forgotten().0.to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Called after every entry: computes the checksum if one is due.
    pub(crate) fn take_checksum(&mut self, before: LogIndex) -> Option<(LogIndex, [u8; 32])> {
        if before.0 / self.checksum_every == self.core.applied.0 / self.checksum_every {
            return None;
        }
        let due = (self.core.applied, self.checksum());
        self.keep_checksum(due);
        Some(due)
    }

    fn keep_checksum(&mut self, checksum: (LogIndex, [u8; 32])) {
        if self.checksums.len() == KEPT {
            self.checksums.pop_front();
        }
        self.checksums.push_back(checksum);
    }

    /// Called before an entry with the checksum after `at`: computes the own checksum if nothing was applied since,
    /// even if none was due. This lets an idle shard be compared, whose number of entries does not grow.
    pub(crate) fn take_checksum_named(&mut self, at: LogIndex) {
        if at == self.core.applied && self.checksum_at(at).is_none() {
            let own = (at, self.checksum());
            self.keep_checksum(own);
        }
    }

    /// Compares `hash` with the own checksum after `at`; `None` if that is no longer known.
    pub(crate) fn agrees(&self, at: LogIndex, hash: &[u8; 32]) -> Option<bool> {
        self.checksum_at(at).map(|own| own == *hash)
    }

    /// The own checksum after `at`; `None` if none was due or it is no longer known.
    #[must_use]
    pub fn checksum_at(&self, at: LogIndex) -> Option<[u8; 32]> {
        self.checksums.iter().find(|(index, _)| *index == at).map(|(_, own)| *own)
    }

    /// Sets the number of entries between two checksums. It must be equal on all replicas of a shard.
    pub fn checksum_every(&mut self, entries: NonZeroU64) {
        self.checksum_every = entries.get();
    }
}
