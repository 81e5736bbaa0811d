//! One origin shard's log, chased.

use std::collections::VecDeque;

use meridian_model::{Delta, Epoch, Hlc, OriginShard, Position, Seq};
use serde::{Deserialize, Serialize};

/// What travels in a delta log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// One change, and the closed time that holds once it is applied.
    Delta {
        /// The change.
        delta: Delta,
        /// Every later change of this origin shard has a larger stamp.
        closed: Hlc,
    },
    /// No change: only the promise that all changes stamped up to `closed` stand at or before `at`.
    Close {
        /// The newest change at that time.
        at: Position,
        /// The promise.
        closed: Hlc,
    },
}

impl Record {
    /// Where it stands in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Delta { delta, .. } => delta.position(),
            Self::Close { at, .. } => *at,
        }
    }

    /// The position behind which it can be taken.
    #[must_use]
    pub fn before(&self) -> Position {
        match self {
            Self::Delta { delta, .. } => Position { epoch: delta.epoch, seq: Seq(delta.seq.0.saturating_sub(1)) },
            Self::Close { at, .. } => *at,
        }
    }
}

/// What became of a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// In order: it will stand in a coming batch.
    Accepted,
    /// Seen before: dropped.
    Duplicate,
    /// Something between is missing: nothing is taken until the log is read again from `wanted`.
    Gap {
        /// The sequence to read from.
        wanted: Seq,
    },
    /// The origin began a new incarnation of its log, and this is not its first delta.
    NewEpoch {
        /// The incarnation to read, from its first sequence.
        epoch: Epoch,
    },
}

/// Deltas in order and without gaps, to be applied as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Incarnation of the origin's log.
    pub epoch: Epoch,
    /// Sequence of the first delta, or one past `to` when there is none.
    pub from: Seq,
    /// Sequence of the last delta.
    pub to: Seq,
    /// The deltas `from..=to`.
    pub deltas: Vec<Delta>,
    /// Closed time once they are applied.
    pub closed: Hlc,
}

/// Chases the tail of one origin shard's log.
///
/// Records may come twice, late, or with holes; batches come out in order, gapless, each delta once.
#[derive(Debug)]
pub struct Chaser {
    origin: OriginShard,
    /// The newest position that is applied here.
    applied: Position,
    /// The newest position handed out in a batch, applied or not.
    proposed: Position,
    /// The newest position taken in.
    taken: Position,
    /// Taken and not handed out yet; the closed time that holds with each.
    waiting: VecDeque<(Delta, Hlc)>,
    /// The newest closed time that holds with `taken`.
    closed: Hlc,
    /// The newest closed time handed out.
    claimed: Hlc,
}

impl Chaser {
    /// Chases `origin` from what is applied already.
    #[must_use]
    pub fn new(origin: OriginShard, applied: Position, claimed: Hlc) -> Self {
        let waiting = VecDeque::new();
        Self { origin, applied, proposed: applied, taken: applied, waiting, closed: claimed, claimed }
    }

    /// The origin shard that is chased.
    #[must_use]
    pub fn origin(&self) -> &OriginShard {
        &self.origin
    }

    /// The position to read the log after.
    #[must_use]
    pub fn taken(&self) -> Position {
        self.taken
    }

    /// How many deltas are taken in and not applied.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let same_epoch = self.taken.epoch == self.applied.epoch;
        let before = if same_epoch { self.applied.seq.0 } else { 0 };
        self.taken.seq.0.saturating_sub(before)
    }

    /// Takes in one record, and says what became of it.
    ///
    /// A repeated delta is dropped, so redelivery is harmless; a gap is read again, never skipped.
    pub fn take(&mut self, record: Record) -> Taken {
        match record {
            Record::Delta { delta, closed } => self.take_delta(delta, closed),
            Record::Close { at, closed } => self.take_close(at, closed),
        }
    }

    fn take_delta(&mut self, delta: Delta, closed: Hlc) -> Taken {
        let at = delta.position();
        if at <= self.taken {
            return Taken::Duplicate;
        }
        let fresh_epoch = at.epoch > self.taken.epoch;
        if fresh_epoch && at.seq != Seq(1) {
            return Taken::NewEpoch { epoch: at.epoch };
        }
        if !fresh_epoch && at.seq != self.taken.seq.next() {
            return Taken::Gap { wanted: self.taken.seq.next() };
        }
        self.taken = at;
        self.closed = self.closed.max(closed);
        self.waiting.push_back((delta, self.closed));
        Taken::Accepted
    }

    fn take_close(&mut self, at: Position, closed: Hlc) -> Taken {
        // A promise made with fewer deltas than are taken still holds: those taken since have larger stamps.
        if at.epoch < self.taken.epoch || closed <= self.closed {
            return Taken::Duplicate;
        }
        if at.epoch > self.taken.epoch {
            if at.seq != Seq(0) || !self.waiting.is_empty() {
                return Taken::NewEpoch { epoch: at.epoch };
            }
            self.taken = at;
            self.proposed = at;
        }
        if at > self.taken {
            return Taken::Gap { wanted: self.taken.seq.next() };
        }
        self.closed = closed;
        Taken::Accepted
    }

    /// The next deltas to apply as one entry: at most `most`, of one epoch. `None` when there is nothing to say.
    ///
    /// A batch without deltas carries a newer closed time.
    pub fn batch(&mut self, most: usize) -> Option<Batch> {
        let Some((first, _)) = self.waiting.front() else {
            return self.batch_of_silence();
        };
        let (epoch, from) = (first.epoch, first.seq);
        let count = self.waiting.iter().take(most).take_while(|(delta, _)| delta.epoch == epoch).count();
        let mut closed = self.claimed;
        let deltas: Vec<Delta> =
            self.waiting.drain(..count).map(|(delta, at)| (closed = closed.max(at), delta).1).collect();
        // A promise that came after the last of them holds with it.
        if self.waiting.is_empty() {
            closed = closed.max(self.closed);
        }
        let to = deltas.last().map_or(from, |delta| delta.seq);
        self.proposed = Position { epoch, seq: to };
        self.claimed = closed;
        Some(Batch { epoch, from, to, deltas, closed })
    }

    fn batch_of_silence(&mut self) -> Option<Batch> {
        // Before the first delta of any epoch there is no position that a promise could be tied to but the start.
        if self.closed <= self.claimed {
            return None;
        }
        self.claimed = self.closed;
        let Position { epoch, seq } = self.proposed;
        Some(Batch { epoch, from: seq.next(), to: seq, deltas: Vec::new(), closed: self.closed })
    }

    /// Takes the position just before `record` for taken, whatever is missing: a bug, put in on purpose by the simulation.
    #[doc(hidden)]
    pub fn skip_to(&mut self, record: &Record) {
        if let Record::Delta { .. } = record {
            self.taken = self.taken.max(record.before());
        }
    }

    /// The stamp of the next delta to be handed out.
    #[must_use]
    pub fn next_stamp(&self) -> Option<Hlc> {
        self.waiting.front().map(|(delta, _)| delta.committed_at)
    }

    /// Everything up to `position` is applied.
    pub fn applied(&mut self, position: Position) {
        self.applied = self.applied.max(position);
        if position > self.taken {
            // Somebody else applied it: another leader's batch, or a seed.
            self.rewind(position, self.claimed);
        }
    }

    /// Forgets what was taken in and starts again after `applied`.
    pub fn rewind(&mut self, applied: Position, claimed: Hlc) {
        self.applied = applied;
        self.proposed = applied;
        self.taken = applied;
        self.waiting.clear();
        self.closed = claimed;
        self.claimed = claimed;
    }
}

#[cfg(test)]
mod tests;
