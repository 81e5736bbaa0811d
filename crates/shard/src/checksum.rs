//! The replica checksum: all of the state in one hash.

use std::num::NonZeroU64;

use meridian_model::LogIndex;

use crate::State;

/// How many entries lie between two checksums, unless [`State::checksum_every`] says otherwise.
pub(crate) const EVERY: u64 = 4096;
/// How many of our own checksums are kept for comparison: the leader's entry comes well within the next interval.
const KEPT: usize = 4;

impl State {
    /// A hash of all that the replicas of this shard agree on; equal after equal logs. Points enter by sums that are kept
    /// as they change, so the cost does not grow with their number.
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

    /// After every entry: takes the checksum where one is due.
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

    /// Before an entry that names the checksum after `at`: ours is taken too if nothing was applied since, also where none
    /// was due. So an idle shard can be compared, whose count of entries stands still.
    pub(crate) fn take_checksum_named(&mut self, at: LogIndex) {
        if at == self.core.applied && self.checksum_at(at).is_none() {
            let own = (at, self.checksum());
            self.keep_checksum(own);
        }
    }

    /// Whether `hash` is what our checksum was after `at`; `None` when it is not known any more.
    pub(crate) fn agrees(&self, at: LogIndex, hash: &[u8; 32]) -> Option<bool> {
        self.checksum_at(at).map(|own| own == *hash)
    }

    /// What the checksum was after `at`; `None` when none was due there, or it is not known any more.
    #[must_use]
    pub fn checksum_at(&self, at: LogIndex) -> Option<[u8; 32]> {
        self.checksums.iter().find(|(index, _)| *index == at).map(|(_, own)| *own)
    }

    /// Takes a checksum every so many entries. All replicas of a shard must do so after the same ones.
    pub fn checksum_every(&mut self, entries: NonZeroU64) {
        self.checksum_every = entries.get();
    }
}
