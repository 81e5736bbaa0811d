//! What a committed write tells other regions, and where it stands in this shard's own delta log.

use meridian_model::{Delta, Epoch, Hlc, LogIndex, Op, PointChange, Position, Seq, Traceparent, WriteRef};

use crate::{Entry, Located, State};

impl State {
    /// The deltas of the applied entry that stands at `located`, in the epoch in which they took their sequences: a function of
    /// the committed log, and of which changes of a conditional write took place.
    ///
    /// Only local writes have any, and of a conditional write only as long as it is known what took place: until the log up
    /// to it is let go. [`State::locate`] names the entries that took sequences; another one must not be asked.
    #[must_use]
    pub fn deltas_of(&self, located: Located, entry: &Entry) -> Vec<Delta> {
        let delta = |i: usize, committed_at: Hlc, op: Op, write: WriteRef, trace: Option<Traceparent>| Delta {
            origin: self.core.me.clone(),
            epoch: located.epoch,
            seq: Seq(located.first.0 + i as u64),
            committed_at,
            op,
            write,
            trace,
        };
        match entry {
            Entry::Write(write) => {
                let ops = write.ops.iter().zip(write.refs()).enumerate();
                ops.map(|(i, (op, at))| delta(i, write.stamp(i), op.clone(), at, write.trace)).collect()
            }
            Entry::ConditionalWrite(write) => {
                let Some(took_place) = self.outbox.took_place(located.index) else { return Vec::new() };
                let op = |i: usize| match (took_place.holds(i), write.changes[i].change) {
                    (true, PointChange::Delete) => {
                        Op::Delete { collection: write.collection, point: write.changes[i].point }
                    }
                    (false, _) => Op::Nothing,
                };
                let changes = 0..write.changes.len();
                changes.map(|i| delta(i, write.stamp(i), op(i), write.reference(i), write.trace)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Last sequence of an epoch of this shard's own delta log; of the present one, the newest so far. `None` when there was
    /// no such epoch.
    #[must_use]
    pub fn last_of(&self, epoch: Epoch) -> Option<Seq> {
        if epoch == self.core.epoch {
            return Some(Seq(self.core.next_seq.0 - 1));
        }
        self.core.ended.get(&epoch).copied()
    }

    /// Position that follows `after` in this shard's own delta log: of the next change of its epoch, else `(epoch + 1, 0)`,
    /// where the next epoch begins. `None` when the log ends there, or `after` is no position of it.
    #[must_use]
    pub fn next_position(&self, after: Position) -> Option<Position> {
        let Position { epoch, seq } = after;
        match self.last_of(epoch)? {
            last if seq < last => Some(Position { epoch, seq: seq.next() }),
            last if seq == last && epoch < self.core.epoch => Some(Position { epoch: epoch.next(), seq: Seq(0) }),
            _ => None,
        }
    }

    /// The log entry that holds the local change at `position`; `None` when it is older than what is known, or there is none.
    #[must_use]
    pub fn locate(&self, position: Position) -> Option<Located> {
        self.last_of(position.epoch).filter(|last| position.seq <= *last)?;
        self.outbox.locate(position)
    }

    /// Tells that the log does not hold the entries before `index` any more. Changes no answer but [`State::locate`]'s.
    pub fn forget_log_before(&mut self, index: LogIndex) {
        self.outbox.forget_before(index);
    }
}
