//! One origin shard's log, chased.

use std::collections::VecDeque;

use meridian_model::{Delta, Epoch, OriginShard, Position, Seq, Statement};
use serde::{Deserialize, Serialize};

/// What travels in a delta log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// One change.
    Delta(Delta),
    /// No change: the log stands at `at`, or stood there.
    Mark {
        /// The newest change.
        at: Position,
        /// What the origin's leader states, of a position up to `at`.
        complete: Option<Statement>,
    },
}

impl Record {
    /// Where it stands in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Delta(delta) => delta.position(),
            Self::Mark { at, .. } => *at,
        }
    }

    /// The position behind which it can be taken.
    #[must_use]
    pub fn before(&self) -> Position {
        match self {
            Self::Delta(delta) => Position { epoch: delta.epoch, seq: Seq(delta.seq.0.saturating_sub(1)) },
            Self::Mark { at, .. } => *at,
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
    /// Taken and not handed out yet.
    waiting: VecDeque<Delta>,
    /// A batch is wanted, though there may be no delta for it.
    announces: bool,
}

impl Chaser {
    /// Chases `origin` from what is applied already.
    #[must_use]
    pub fn new(origin: OriginShard, applied: Position) -> Self {
        let waiting = VecDeque::new();
        Self { origin, applied, proposed: applied, taken: applied, waiting, announces: false }
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
            Record::Delta(delta) => self.take_delta(delta),
            Record::Mark { at, .. } => self.take_mark(at),
        }
    }

    fn take_delta(&mut self, delta: Delta) -> Taken {
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
        self.waiting.push_back(delta);
        Taken::Accepted
    }

    fn take_mark(&mut self, at: Position) -> Taken {
        if at.epoch < self.taken.epoch {
            return Taken::Duplicate;
        }
        if at.epoch > self.taken.epoch {
            if at.seq != Seq(0) || !self.waiting.is_empty() {
                return Taken::NewEpoch { epoch: at.epoch };
            }
            self.taken = at;
            self.proposed = at;
            self.announces = true;
        }
        if at > self.taken {
            return Taken::Gap { wanted: self.taken.seq.next() };
        }
        Taken::Accepted
    }

    /// Asks for a batch even if there is no delta to put into it: it tells how far the source was read.
    pub fn announce(&mut self) {
        self.announces = true;
    }

    /// The next deltas to apply as one entry: at most `most`, of one epoch. `None` when there is nothing to say.
    ///
    /// A batch without deltas begins an epoch, or was asked for by [`Chaser::announce`].
    pub fn batch(&mut self, most: usize) -> Option<Batch> {
        let announces = std::mem::take(&mut self.announces);
        let Some(first) = self.waiting.front() else {
            let Position { epoch, seq } = self.proposed;
            return announces.then(|| Batch { epoch, from: seq.next(), to: seq, deltas: Vec::new() });
        };
        let (epoch, from) = (first.epoch, first.seq);
        let count = self.waiting.iter().take(most).take_while(|delta| delta.epoch == epoch).count();
        let deltas: Vec<Delta> = self.waiting.drain(..count).collect();
        let to = deltas.last().map_or(from, |delta| delta.seq);
        self.proposed = Position { epoch, seq: to };
        Some(Batch { epoch, from, to, deltas })
    }

    /// Takes the position just before `record` for taken, whatever is missing: a bug, injected by the simulation.
    #[cfg(feature = "fault-injection")]
    pub fn skip_to(&mut self, record: &Record) {
        if let Record::Delta(_) = record {
            self.taken = self.taken.max(record.before());
        }
    }

    /// Everything up to `position` is applied.
    pub fn applied(&mut self, position: Position) {
        self.applied = self.applied.max(position);
        if position > self.taken {
            // Somebody else applied it: another leader's batch, or a seed.
            self.rewind(position);
        }
    }

    /// Forgets what was taken in and starts again after `applied`.
    pub fn rewind(&mut self, applied: Position) {
        self.applied = applied;
        self.proposed = applied;
        self.taken = applied;
        self.waiting.clear();
        self.announces = false;
    }
}

#[cfg(test)]
mod tests;
