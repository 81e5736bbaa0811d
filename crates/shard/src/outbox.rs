//! The log entry of each local sequence, so that the Raft log can be read as a delta log.

use std::collections::{BTreeMap, VecDeque};

use meridian_model::{Epoch, LogIndex, Position, Seq};
use serde::{Deserialize, Serialize};

/// Number of entries that are known; 16 MB. Readers further behind are re-seeded.
const CAPACITY: usize = 1 << 20;

/// The entry that holds a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Index of the [`crate::Entry::Write`] or [`crate::Entry::ConditionalWrite`].
    pub index: LogIndex,
    /// Epoch of the own delta log in which its changes took their sequences.
    pub epoch: Epoch,
    /// Sequence of its first change.
    pub first: Seq,
}

impl Located {
    /// Position of its first change.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.first }
    }
}

/// The changes of a conditional write that took effect: one bit each, the first one lowest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct TookPlace(Vec<u8>);

impl TookPlace {
    /// Records the result of the next change, `nth`.
    pub(crate) fn push(&mut self, nth: usize, took_place: bool) {
        if nth.is_multiple_of(8) {
            self.0.push(0);
        }
        self.0[nth / 8] |= u8::from(took_place) << (nth % 8);
    }

    /// Returns true if change `nth` took effect.
    pub(crate) fn holds(&self, nth: usize) -> bool {
        self.0.get(nth / 8).is_some_and(|byte| byte >> (nth % 8) & 1 == 1)
    }
}

/// The writes that took sequences, in order. Repeats and refused writes took none and are not listed.
///
/// It follows from the log and is not in the checksum: its length may differ between replicas.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outbox {
    entries: VecDeque<Located>,
    /// The results of conditional writes: the log alone does not contain them, and a restart must publish the same
    /// deltas.
    took_place: BTreeMap<LogIndex, TookPlace>,
}

impl Outbox {
    pub(crate) fn push(&mut self, located: Located) {
        if self.entries.len() == CAPACITY
            && let Some(oldest) = self.entries.pop_front()
        {
            self.took_place.remove(&oldest.index);
        }
        self.entries.push_back(located);
    }

    pub(crate) fn push_conditional(&mut self, located: Located, took_place: TookPlace) {
        self.push(located);
        self.took_place.insert(located.index, took_place);
    }

    /// The entry that holds the change at `position`, unless it is older than the known entries. For a sequence that
    /// was not assigned in that epoch: the epoch's last entry.
    pub(crate) fn locate(&self, position: Position) -> Option<Located> {
        let after = self.entries.partition_point(|located| located.position() <= position);
        self.entries.get(after.checked_sub(1)?).copied().filter(|located| located.epoch == position.epoch)
    }

    /// The changes of the conditional write at `index` that took effect, as long as the log holds the entry.
    pub(crate) fn took_place(&self, index: LogIndex) -> Option<&TookPlace> {
        self.took_place.get(&index)
    }

    /// Removes the entries that the log no longer holds.
    pub(crate) fn forget_before(&mut self, index: LogIndex) {
        while self.entries.front().is_some_and(|located| located.index < index) {
            self.entries.pop_front();
        }
        self.took_place = self.took_place.split_off(&index);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Located> {
        self.entries.iter()
    }

    /// The conditional writes with their results.
    pub(crate) fn conditional(&self) -> impl Iterator<Item = (LogIndex, &TookPlace)> {
        self.took_place.iter().map(|(index, took_place)| (*index, took_place))
    }

    /// Restores a conditional write from a snapshot.
    pub(crate) fn put_back(&mut self, index: LogIndex, took_place: TookPlace) {
        self.took_place.insert(index, took_place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_found_in_the_entry_that_holds_it() {
        let mut outbox = Outbox::default();
        let at = |index, first| Located { index: LogIndex(index), epoch: Epoch(1), first: Seq(first) };
        [at(3, 1), at(4, 5), at(9, 6)].into_iter().for_each(|located| outbox.push(located));
        let check = |outbox: &Outbox, seq, expected| {
            assert_eq!(outbox.locate(Position { epoch: Epoch(1), seq: Seq(seq) }), expected, "{seq}");
        };
        check(&outbox, 0, None);
        check(&outbox, 1, Some(at(3, 1)));
        check(&outbox, 4, Some(at(3, 1)));
        check(&outbox, 5, Some(at(4, 5)));
        check(&outbox, 77, Some(at(9, 6)));
        outbox.forget_before(LogIndex(4));
        check(&outbox, 4, None);
        check(&outbox, 5, Some(at(4, 5)));
    }

    #[test]
    fn the_same_sequence_of_two_epochs_is_in_two_entries() {
        let mut outbox = Outbox::default();
        let at = |index, epoch, first| Located { index: LogIndex(index), epoch: Epoch(epoch), first: Seq(first) };
        [at(3, 1, 1), at(4, 1, 5), at(9, 2, 1), at(12, 4, 1)].into_iter().for_each(|located| outbox.push(located));
        for (epoch, seq, expected) in [
            (1, 4, Some(at(3, 1, 1))),
            (1, 99, Some(at(4, 1, 5))),
            (2, 0, None),
            (2, 4, Some(at(9, 2, 1))),
            (3, 1, None),
            (4, 1, Some(at(12, 4, 1))),
        ] {
            assert_eq!(outbox.locate(Position { epoch: Epoch(epoch), seq: Seq(seq) }), expected, "{epoch}:{seq}");
        }
    }

    #[test]
    fn results_are_known_as_long_as_the_log_holds_them() {
        let mut outbox = Outbox::default();
        let pattern = |nth: usize| nth % 3 == 1;
        for index in [3, 4] {
            let mut took_place = TookPlace::default();
            (0..20).for_each(|nth| took_place.push(nth, pattern(nth)));
            let located = Located { index: LogIndex(index), epoch: Epoch(1), first: Seq(20 * index) };
            outbox.push_conditional(located, took_place);
        }
        let held = outbox.took_place(LogIndex(3)).unwrap();
        assert!((0..20).all(|nth| held.holds(nth) == pattern(nth)) && !held.holds(20) && !held.holds(900));
        outbox.forget_before(LogIndex(4));
        assert_eq!((outbox.took_place(LogIndex(3)), outbox.took_place(LogIndex(4)).is_some()), (None, true));
    }
}
