//! Tracks the byte size of the log entries, which bounds the log and the replay after a start.

use std::collections::VecDeque;

/// Overhead per entry in bytes: index, term, kind and frame.
const HEAD_BYTES: u64 = 64;

/// Sizes of the entries in the log, without gaps.
#[derive(Debug, Default)]
pub(crate) struct LogBytes {
    /// Index of the first entry.
    first: u64,
    /// Bytes of all entries before the first.
    before: u64,
    /// By entry: bytes of all entries up to and including it.
    ends: VecDeque<u64>,
}

impl LogBytes {
    /// Creates the sizes of these entries.
    pub(crate) fn of(entries: &[meridian_raft::Entry]) -> Self {
        let mut log = Self::default();
        entries.iter().for_each(|entry| log.push(entry.index, entry.payload.len()));
        log
    }

    /// Adds an entry; entries at its index or later are void.
    pub(crate) fn push(&mut self, index: u64, payload_bytes: usize) {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        match at.filter(|at| *at <= self.ends.len()) {
            Some(at) => self.ends.truncate(at),
            // The log restarts after a snapshot.
            None => *self = Self { first: index, ..Self::default() },
        }
        let before = self.ends.back().copied().unwrap_or(self.before);
        self.ends.push_back(before + HEAD_BYTES + payload_bytes as u64);
    }

    /// Bytes of the entries after `index`.
    pub(crate) fn since(&self, index: u64) -> u64 {
        self.ends.back().map_or(0, |all| all - self.up_to(index))
    }

    /// Returns the least index from which on the entries up to `index` take at most `most` bytes.
    pub(crate) fn keep_from(&self, index: u64, most: u64) -> u64 {
        let least = self.up_to(index).saturating_sub(most);
        if least <= self.before {
            return self.first;
        }
        self.first + self.ends.partition_point(|end| *end < least) as u64 + 1
    }

    /// Removes the entries before `index`.
    pub(crate) fn forget_before(&mut self, index: u64) {
        while self.first < index
            && let Some(end) = self.ends.pop_front()
        {
            self.first += 1;
            self.before = end;
        }
    }

    fn up_to(&self, index: u64) -> u64 {
        let count = (index + 1).saturating_sub(self.first);
        let last = usize::try_from(count).unwrap_or(usize::MAX).min(self.ends.len());
        last.checked_sub(1).map_or(self.before, |last| self.ends[last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries with 36 bytes of payload, 100 bytes each.
    fn log(indexes: std::ops::RangeInclusive<u64>) -> LogBytes {
        let mut log = LogBytes::default();
        indexes.for_each(|index| log.push(index, 36));
        log
    }

    #[test]
    fn bytes_are_counted_from_an_index_on() {
        let log = log(5..=14);
        assert_eq!([0, 4, 5, 13, 14, 99].map(|index| log.since(index)), [1000, 1000, 900, 100, 0, 0]);
    }

    #[test]
    fn replaced_entries_are_not_counted() {
        let mut log = log(5..=14);
        log.push(8, 136);
        assert_eq!(log.since(4), 300 + 200);
        log.push(40, 36);
        assert_eq!((log.since(4), log.since(40)), (100, 0));
    }

    #[test]
    fn the_newest_entries_within_the_limit_are_kept() {
        let mut log = log(5..=14);
        for (most, from) in [(1000, 5), (900, 6), (950, 6), (100, 14), (99, 15), (0, 15), (5000, 5)] {
            assert_eq!(log.keep_from(14, most), from, "{most}");
        }
        assert_eq!(log.keep_from(10, 200), 9);
        log.forget_before(9);
        assert_eq!((log.since(0), log.since(10)), (600, 400));
        assert_eq!((log.keep_from(14, 5000), log.keep_from(14, 200)), (9, 13));
        log.forget_before(99);
        assert_eq!((log.since(0), log.keep_from(99, 1)), (0, 15));
    }
}
