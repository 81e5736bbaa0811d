//! Results of recent writes, so that a repeat is answered without being applied again.

use std::collections::VecDeque;

use immutable_chunkmap::map::MapS;
use meridian_model::{Epoch, Hlc, LogIndex, Seq, WriteId};
use serde::{Deserialize, Serialize};

use crate::{CollectionChange, Digest};

/// Number of stored results. A gateway repeats a write for some seconds; at 10,000 writes a second the results last 13
/// s and take about 13 MB. A write repeated later does nothing, and its outcome is unknown.
const CAPACITY: usize = 131_072;

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResult {
    /// Epoch of the own delta log in which the changes took their sequences.
    pub epoch: Epoch,
    /// Sequence of the first change.
    pub first: Seq,
    /// Sequence of the last change; `first - 1` if there are none.
    pub last: Seq,
    /// Stamp of the first change.
    pub hlc: Hlc,
    /// Result of the write's change of a collection, if it has one.
    pub collection: Option<CollectionChange>,
    /// Of a conditional write: indexes of the changes whose points must be read again and retried.
    pub retry: Vec<u32>,
}

/// A bounded map that drops its oldest results, in the order of the log.
#[derive(Debug, Default, Clone)]
pub(crate) struct WriteIds {
    /// Copies share unchanged parts: a snapshot is written beside the machine.
    results: MapS<(WriteId, u32), WriteResult>,
    /// Oldest first, each with the entry that recorded it.
    order: VecDeque<(WriteId, u32, LogIndex)>,
    digest: Digest,
    /// The entry that recorded the newest dropped result.
    forgotten: LogIndex,
}

impl WriteIds {
    pub(crate) fn result(&self, id: WriteId, part: u32) -> Option<&WriteResult> {
        self.results.get(&(id, part))
    }

    /// Stores the result of a new write, recorded by the entry at `index`.
    pub(crate) fn record(&mut self, id: WriteId, part: u32, index: LogIndex, result: WriteResult) {
        if self.order.len() == CAPACITY {
            let oldest = self.order.pop_front().expect("the capacity is not 0");
            self.forgotten = oldest.2;
            if let Some(forgotten) = self.results.remove_cow(&(oldest.0, oldest.1)) {
                self.digest -= hash(oldest, &forgotten);
            }
        }
        self.digest += hash((id, part, index), &result);
        self.results.insert_cow((id, part), result);
        self.order.push_back((id, part, index));
    }

    /// Returns true if a result recorded after the entry at `index` was dropped: an unknown result may have been that
    /// one.
    pub(crate) fn has_forgotten_behind(&self, index: LogIndex) -> bool {
        self.forgotten > index
    }

    /// The entry that recorded the newest dropped result.
    pub(crate) fn forgotten(&self) -> LogIndex {
        self.forgotten
    }

    /// Restores the newest dropped entry from a snapshot.
    pub(crate) fn set_forgotten(&mut self, index: LogIndex) {
        self.forgotten = index;
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WriteId, u32, LogIndex, &WriteResult)> {
        self.order.iter().filter_map(|(id, part, index)| Some((*id, *part, *index, self.results.get(&(*id, *part))?)))
    }

    /// Digest of the stored results.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

fn hash(key: (WriteId, u32, LogIndex), result: &WriteResult) -> Digest {
    let bytes = postcard::to_stdvec(&(key, result)).expect("numbers only");
    Digest::of(*blake3::hash(&bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_result_is_dropped_first() {
        let mut ids = WriteIds::default();
        let result = |n: u64| {
            let (epoch, first, last) = (Epoch(1), Seq(n), Seq(n));
            WriteResult { epoch, first, last, hlc: Hlc(n), collection: None, retry: Vec::new() }
        };
        for n in 0..CAPACITY as u64 {
            ids.record(WriteId(n.into()), 0, LogIndex(n + 10), result(n));
        }
        assert!(!ids.has_forgotten_behind(LogIndex(0)));
        ids.record(WriteId(CAPACITY as u128), 0, LogIndex(1 << 20), result(CAPACITY as u64));
        assert!(ids.has_forgotten_behind(LogIndex(9)) && !ids.has_forgotten_behind(LogIndex(10)));
        assert_eq!(ids.result(WriteId(0), 0), None);
        assert_eq!(ids.result(WriteId(1), 0), Some(&result(1)));
        let mut again = WriteIds::default();
        ids.iter().for_each(|(id, part, index, result)| again.record(id, part, index, result.clone()));
        assert_eq!(again.digest(), ids.digest());
    }
}
