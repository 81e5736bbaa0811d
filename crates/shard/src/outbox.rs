//! Which log entry holds which local sequence, so that the log can be read as a delta log.

use std::collections::VecDeque;

use meridian_model::{LogIndex, Seq};

/// How many entries are known. Readers further behind than this are seeded anew; 16 MB.
const CAPACITY: usize = 1 << 20;

/// The entry that holds a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Where the [`crate::Entry::Write`] stands.
    pub index: LogIndex,
    /// Sequence of its first change.
    pub first: Seq,
}

/// The writes that took sequences, in order. Repeats and refused writes took none, and do not stand here.
///
/// It follows from the log and is no part of the checksum: how far back it reaches may differ between replicas.
#[derive(Debug, Default)]
pub(crate) struct Outbox(VecDeque<Located>);

impl Outbox {
    pub(crate) fn push(&mut self, located: Located) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(located);
    }

    /// The entry that holds `seq`, if it is not older than what is known; a `seq` not given yet yields the last entry.
    pub(crate) fn locate(&self, seq: Seq) -> Option<Located> {
        let after = self.0.partition_point(|located| located.first <= seq);
        self.0.get(after.checked_sub(1)?).copied()
    }

    /// Forgets the entries that the log does not hold any more.
    pub(crate) fn forget_before(&mut self, index: LogIndex) {
        while self.0.front().is_some_and(|located| located.index < index) {
            self.0.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Located> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_found_in_the_entry_that_holds_it() {
        let mut outbox = Outbox::default();
        let at = |index, first| Located { index: LogIndex(index), first: Seq(first) };
        [at(3, 1), at(4, 5), at(9, 6)].into_iter().for_each(|located| outbox.push(located));
        let check = |outbox: &Outbox, seq, expected| assert_eq!(outbox.locate(Seq(seq)), expected, "{seq}");
        check(&outbox, 0, None);
        check(&outbox, 1, Some(at(3, 1)));
        check(&outbox, 4, Some(at(3, 1)));
        check(&outbox, 5, Some(at(4, 5)));
        check(&outbox, 77, Some(at(9, 6)));
        outbox.forget_before(LogIndex(4));
        check(&outbox, 4, None);
        check(&outbox, 5, Some(at(4, 5)));
    }
}
