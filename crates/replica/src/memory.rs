//! Checks whether memory suffices for a snapshot. If not, none is taken, and the replica reports no free bytes: without
//! snapshots the log in memory would grow until all replicas of the group are killed.

use std::collections::VecDeque;

use meridian_proto::topology::MemorySeen;

/// Divisor of the used memory that bounds the additional memory of a snapshot: rows and points written meanwhile are
/// stored twice, and the snapshot copies about 16 bytes per point. Files are written in chunks.
const SNAPSHOT_PART: u64 = 4;
/// Number of measurements whose minimum counts: memory of requests is transient.
const WINDOW: usize = 10;
/// Divisor of the limit: margin before a snapshot fits again (hysteresis).
const MARGIN_PART: u64 = 32;

/// Measured memory of the process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Recent measurements in bytes, oldest first, without those during a snapshot.
    used: VecDeque<u64>,
    seen: Option<MemorySeen>,
}

/// Returns `true` if a snapshot that adds `adds` bytes exceeds the limit; `was_short` adds a margin.
fn is_short(used: u64, limit: u64, adds: u64, was_short: bool) -> bool {
    let margin = if was_short { limit / MARGIN_PART } else { 0 };
    used.saturating_add(adds).saturating_add(margin) > limit
}

impl Memory {
    /// Adds a measurement. Measurements during a snapshot are not counted: they include its memory.
    pub(crate) fn measured(&mut self, used: u64, limit: u64, is_taking: bool) {
        let was_short = self.is_short();
        if is_taking {
            self.used.clear();
            self.seen = Some(MemorySeen { used_bytes: used, limit_bytes: limit, is_short: was_short });
            return;
        }
        self.used.push_back(used);
        if self.used.len() > WINDOW {
            self.used.pop_front();
        }
        let least = self.used.iter().copied().min().unwrap_or(used);
        let is_sure = self.seen.is_none() || self.used.len() == WINDOW;
        let is_short = is_short(least, limit, least / SNAPSHOT_PART, was_short) && (was_short || is_sure);
        self.seen = Some(MemorySeen { used_bytes: used, limit_bytes: limit, is_short });
    }

    /// Returns `true` if memory does not suffice for a snapshot.
    pub(crate) fn is_short(&self) -> bool {
        self.seen.is_some_and(|seen| seen.is_short)
    }

    /// The newest measurement.
    pub(crate) fn seen(&self) -> Option<MemorySeen> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_fits_if_its_additional_memory_does() {
        for (used, limit, adds, was_short, short) in [
            (800, 1_000, 200, false, false),
            (801, 1_000, 200, false, true),
            (800, 1_000, 200, true, true),
            (769, 1_000, 200, true, false),
            (770, 1_000, 200, true, true),
            (2_000, 1_000, 0, false, true),
            (u64::MAX, u64::MAX, u64::MAX, false, false),
            (u64::MAX, 1, u64::MAX, false, true),
        ] {
            assert_eq!(is_short(used, limit, adds, was_short), short, "{used} {limit} {adds} {was_short}");
        }
    }

    #[test]
    fn transient_memory_of_requests_does_not_count() {
        let mut memory = Memory::default();
        let mut after = |used: &[u64], is_taking| {
            used.iter().for_each(|used| memory.measured(*used, 1_000, is_taking));
            memory.is_short()
        };
        assert!(!after(&[500; 20], false));
        assert!(!after(&[900; 9], false), "one of ten was low");
        assert!(after(&[900], false));
        assert!(after(&[780], false), "within the margin");
        assert!(!after(&[700], false));
        assert!(!after(&[950; 50], true), "a snapshot was being taken");
        assert!(!after(&[950; 9], false), "its memory may not have been given back yet");
        assert!(after(&[950], false));
        assert!(after(&[100; 50], true), "the last verdict holds until the snapshot is taken");
    }

    #[test]
    fn a_replica_that_starts_with_too_little_is_short_at_once() {
        let mut memory = Memory::default();
        memory.measured(900, 1_000, false);
        assert!(memory.is_short());
        assert_eq!(memory.seen(), Some(MemorySeen { used_bytes: 900, limit_bytes: 1_000, is_short: true }));
    }
}
