//! Turns the records of one origin shard's delta log into gapless batches.

use std::collections::VecDeque;

use meridian_model::{Delta, Epoch, OriginShard, Position, Seq};

use crate::Record;

/// How [`LogFollower::receive`] handled a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveOutcome {
    /// The record is next in order; its delta will be in a later batch.
    Accepted,
    /// The record was received before and is dropped.
    Duplicate,
    /// Records are missing. Nothing is accepted until the log is reread from `wanted`.
    Gap {
        /// Sequence of the first missing delta.
        wanted: Seq,
    },
    /// The origin began a new epoch, and this is not its first delta.
    NewEpoch {
        /// Epoch to read, from its first sequence.
        epoch: Epoch,
    },
}

/// Consecutive deltas of one epoch, applied by one log entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Epoch of the origin's log.
    pub epoch: Epoch,
    /// Sequence of the first delta, or one past `to` when there is none.
    pub from: Seq,
    /// Sequence of the last delta, or the newest sequence of the epoch when there is none.
    pub to: Seq,
    /// The deltas `from..=to`, in order of `seq`.
    pub deltas: Vec<Delta>,
}

/// Follows the tail of one origin shard's log.
///
/// Input records may be duplicated, reordered or missing. Output batches are ordered and gapless, each delta once.
///
/// ```
/// use meridian_model::{Epoch, OriginShard, Position, RegionName, Seq, ShardNumber};
/// use meridian_replication::{LogFollower, ReceiveOutcome, Record};
///
/// let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
/// let origin = OriginShard { region: RegionName::new("us-east")?, shard: ShardNumber::FIRST };
/// let mut follower = LogFollower::new(origin, at(7));
///
/// // The origin's log ends at sequence 9, so that 8 and 9 are missing: the transport reads it again from 8.
/// let end = Record::Mark { at: at(9), complete: None };
/// assert_eq!(follower.receive(end), ReceiveOutcome::Gap { wanted: Seq(8) });
/// assert_eq!((follower.received(), follower.next_batch(100)), (at(7), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogFollower {
    origin: OriginShard,
    /// Newest position applied by this replica. Invariant: `applied <= received`.
    applied: Position,
    /// Newest position returned by [`LogFollower::next_batch`], applied or not.
    proposed: Position,
    /// Newest position received without gaps.
    received: Position,
    /// Received deltas that no batch contains yet.
    pending: VecDeque<Delta>,
    /// The next batch is returned even if it is empty.
    batch_requested: bool,
}

impl LogFollower {
    /// Follows `origin` from `applied`, the newest position that this replica has applied.
    #[must_use]
    pub fn new(origin: OriginShard, applied: Position) -> Self {
        let pending = VecDeque::new();
        Self { origin, applied, proposed: applied, received: applied, pending, batch_requested: false }
    }

    /// The followed origin shard.
    #[must_use]
    pub fn origin(&self) -> &OriginShard {
        &self.origin
    }

    /// Newest position received without gaps; the transport reads the log after it.
    #[must_use]
    pub fn received(&self) -> Position {
        self.received
    }

    /// Number of deltas received and not yet applied.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let same_epoch = self.received.epoch == self.applied.epoch;
        let applied = if same_epoch { self.applied.seq.0 } else { 0 };
        self.received.seq.0.saturating_sub(applied)
    }

    /// Receives one record.
    ///
    /// A duplicate is dropped, so redelivery is harmless. A gap is reported and reread, never skipped.
    pub fn receive(&mut self, record: Record) -> ReceiveOutcome {
        match record {
            Record::Delta(delta) => self.receive_delta(delta),
            Record::Mark { at, .. } => self.receive_mark(at),
        }
    }

    fn receive_delta(&mut self, delta: Delta) -> ReceiveOutcome {
        let at = delta.position();
        if at <= self.received {
            return ReceiveOutcome::Duplicate;
        }
        let is_new_epoch = at.epoch > self.received.epoch;
        if is_new_epoch && at.seq != Seq(1) {
            return ReceiveOutcome::NewEpoch { epoch: at.epoch };
        }
        if !is_new_epoch && at.seq != self.received.seq.next() {
            return ReceiveOutcome::Gap { wanted: self.received.seq.next() };
        }
        self.received = at;
        self.pending.push_back(delta);
        ReceiveOutcome::Accepted
    }

    fn receive_mark(&mut self, at: Position) -> ReceiveOutcome {
        if at.epoch < self.received.epoch {
            return ReceiveOutcome::Duplicate;
        }
        if at.epoch > self.received.epoch {
            if at.seq != Seq(0) || !self.pending.is_empty() {
                return ReceiveOutcome::NewEpoch { epoch: at.epoch };
            }
            self.received = at;
            self.proposed = at;
            self.batch_requested = true;
        }
        if at > self.received {
            return ReceiveOutcome::Gap { wanted: self.received.seq.next() };
        }
        ReceiveOutcome::Accepted
    }

    /// Makes the next batch non-`None` even if it is empty: it commits how far the source was read.
    pub fn request_batch(&mut self) {
        self.batch_requested = true;
    }

    /// Returns the next batch of at most `max_deltas` deltas (at least 1) of one epoch; `None` when none is pending.
    ///
    /// An empty batch begins an epoch, or was requested by [`LogFollower::request_batch`].
    pub fn next_batch(&mut self, max_deltas: usize) -> Option<Batch> {
        let batch_requested = std::mem::take(&mut self.batch_requested);
        let Some(first) = self.pending.front() else {
            let Position { epoch, seq } = self.proposed;
            return batch_requested.then(|| Batch { epoch, from: seq.next(), to: seq, deltas: Vec::new() });
        };
        let (epoch, from) = (first.epoch, first.seq);
        let count = self.pending.iter().take(max_deltas).take_while(|delta| delta.epoch == epoch).count();
        let deltas: Vec<Delta> = self.pending.drain(..count).collect();
        let to = deltas.last().map_or(from, |delta| delta.seq);
        self.proposed = Position { epoch, seq: to };
        Some(Batch { epoch, from, to, deltas })
    }

    /// Injected bug: counts everything before `record` as received, missing or not.
    #[cfg(feature = "fault-injection")]
    pub fn skip_to(&mut self, record: &Record) {
        if let Record::Delta(_) = record {
            self.received = self.received.max(record.predecessor());
        }
    }

    /// Records that this replica has applied everything up to `position`.
    pub fn applied(&mut self, position: Position) {
        self.applied = self.applied.max(position);
        if position > self.received {
            // Applied by another path: a batch that another leader proposed, or a seed.
            self.rewind(position);
        }
    }

    /// Discards all pending deltas and continues after `applied`.
    pub fn rewind(&mut self, applied: Position) {
        self.applied = applied;
        self.proposed = applied;
        self.received = applied;
        self.pending.clear();
        self.batch_requested = false;
    }
}

#[cfg(test)]
mod tests;
