//! Conditional writes: the second half of an operation that depends on state; the first half is a linearizable read.
//!
//! Every replica decides from the log alone whether a change takes effect, so a late or repeated proposal cannot undo a
//! write that was acknowledged after the read.

use meridian_model::{
    CollectionUid, ConditionalChange, Hlc, LogIndex, PointChange, Position, PrimaryTerm, Seq, TableVersion,
    Traceparent, WriteId, WriteRef, conditional_index,
};
use serde::{Deserialize, Serialize};

use crate::apply::ChangeCounts;
use crate::outbox::TookPlace;
use crate::outcome::Outcome;
use crate::{Collection, Located, Stamp, State, WriteResult};

/// Most changes of one conditional write. That many deletes take less than 200 kB of the log.
pub const MAX_CONDITIONAL_CHANGES: usize = 1_000;

/// Local changes, each of which takes effect only if its point is unchanged since it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionalWrite {
    /// A repeat of `(id, part)` applies nothing and gets the result of the first copy.
    pub id: WriteId,
    /// Index of this part of the operation.
    pub part: u32,
    /// The version of the bucket table by which the leader owned the points.
    pub table: TableVersion,
    /// The primary term under which the leader admitted it. In a later term it does nothing.
    pub term: PrimaryTerm,
    /// The collection.
    pub collection: CollectionUid,
    /// The newest entry that the read had applied. Every copy of the write is after it. If a result recorded after it
    /// was dropped, that may have been this write's, and nothing is done.
    pub read_at: LogIndex,
    /// The changes with their conditions.
    pub changes: Vec<ConditionalChange>,
    /// Stamp of the first change; change `i` has `hlc + i`.
    pub hlc: Hlc,
    /// Trace context of the client's request. Nothing stored depends on it.
    pub trace: Option<Traceparent>,
}

impl ConditionalWrite {
    /// Stamp of change `i`.
    #[must_use]
    pub fn stamp(&self, i: usize) -> Hlc {
        Hlc(self.hlc.0.saturating_add(i as u64))
    }

    /// Identifies change `i` by its index in the operation.
    ///
    /// # Panics
    /// `part` or the index is out of bounds, which leaders and [`crate::Entry::decode`] refuse.
    #[must_use]
    pub fn reference(&self, i: usize) -> WriteRef {
        let index = conditional_index(self.part, i).expect("part and place of a conditional write are bounded");
        WriteRef { id: self.id, index }
    }
}

/// Result of one conditional change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took effect.
    Applied,
    /// Its point was deleted, or replaced by an upsert: the operation precedes that change.
    Overtaken,
    /// Its point is unchanged, but its stamp is not smaller than the change's: the caller must read it again and retry.
    Unsettled,
}

impl State {
    pub(crate) fn conditional_write(
        &mut self,
        index: LogIndex,
        write: &ConditionalWrite,
        counts: &mut ChangeCounts,
    ) -> Outcome {
        let (id, part) = (write.id, write.part);
        match self.settled((id, part), write.term, write.table, write.read_at) {
            Some(outcome) => outcome,
            None => Outcome::written(id, part, self.apply_conditional(index, write, counts), false),
        }
    }

    fn apply_conditional(
        &mut self,
        index: LogIndex,
        write: &ConditionalWrite,
        counts: &mut ChangeCounts,
    ) -> WriteResult {
        let (first, me, epoch) = (self.core.next_seq, self.core.me.clone(), self.core.epoch);
        let (mut took_place, mut retry) = (TookPlace::default(), Vec::new());
        for (i, change) in write.changes.iter().enumerate() {
            let stamp = Stamp { hlc: write.stamp(i), origin: me.clone(), epoch, seq: self.core.next_seq };
            self.see(stamp.hlc);
            self.core.next_seq = stamp.seq.next();
            let held = self.collections.get_mut(&write.collection);
            let fate = held.map_or(Fate::Overtaken, |held| held.change_if(change, &stamp));
            if fate == Fate::Unsettled {
                retry.push(u32::try_from(i).expect("a write holds at most a thousand changes"));
            }
            took_place.push(i, fate == Fate::Applied);
            counts.count(fate == Fate::Applied);
        }
        let last = Seq(self.core.next_seq.0 - 1);
        if !write.changes.is_empty() {
            self.core.vv.advance(&me, Position { epoch, seq: last });
            self.outbox.push_conditional(Located { index, epoch, first }, took_place);
        }
        let result = WriteResult { epoch, first, last, hlc: write.hlc, collection: None, retry };
        self.write_ids.record(write.id, write.part, index, result.clone());
        result
    }
}

impl Collection {
    /// Changes a point if its stamp is the one that was read, and smaller than the change's own.
    fn change_if(&mut self, change: &ConditionalChange, stamp: &Stamp) -> Fate {
        match self.point(change.point) {
            Some(held) if held.stamp == change.seen && held.stamp < *stamp => {
                match change.change {
                    PointChange::Delete => self.remove(change.point),
                };
                Fate::Applied
            }
            Some(held) if held.stamp == change.seen => Fate::Unsettled,
            Some(_) | None => Fate::Overtaken,
        }
    }
}

#[cfg(test)]
mod tests;
