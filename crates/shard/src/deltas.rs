//! What a committed write tells other regions.

use meridian_model::{Delta, Epoch, OriginShard, Seq};

use crate::Entry;

/// The deltas of an applied entry whose first change got the sequence `first`: a pure function of the committed log.
///
/// Only local writes have any. An entry that took no sequence (a repeat, a changed table) must not be asked:
/// [`crate::State::locate`] names the entries that did.
#[must_use]
pub fn deltas_of(entry: &Entry, first: Seq, origin: &OriginShard, epoch: Epoch) -> Vec<Delta> {
    let Entry::Write(write) = entry else { return Vec::new() };
    let delta = |(i, op): (usize, &meridian_model::Op)| Delta {
        origin: origin.clone(),
        epoch,
        seq: Seq(first.0 + i as u64),
        committed_at: write.stamp(i),
        op: op.clone(),
        trace: write.trace,
    };
    write.ops.iter().enumerate().map(delta).collect()
}
