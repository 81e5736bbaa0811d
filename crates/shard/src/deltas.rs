//! The deltas of a committed write, and their place in this shard's own delta log.

use meridian_model::{Delta, Epoch, Hlc, LogIndex, Op, PointChange, Position, Seq, Traceparent, WriteRef};

use crate::{Entry, Located, State};

impl State {
    /// The deltas of the applied entry at `located`, in the epoch in which they took their sequences. They are a
    /// function of the committed log, and of the changes of a conditional write that took effect.
    ///
    /// Only local writes have deltas, and a conditional write only while it is known which changes took effect: until
    /// its part of the log is truncated. `located` must come from [`State::locate`].
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

    /// Last sequence of an epoch of this shard's own delta log; for the current epoch, the newest so far. `None` if
    /// there was no such epoch.
    #[must_use]
    pub fn last_of(&self, epoch: Epoch) -> Option<Seq> {
        if epoch == self.core.epoch {
            return Some(Seq(self.core.next_seq.0 - 1));
        }
        self.core.ended.get(&epoch).copied()
    }

    /// Position that follows `after` in this shard's own delta log: of the next change of its epoch, else `(epoch + 1,
    /// 0)`, where the next epoch begins. `None` if the log ends there, or `after` is not one of its positions.
    #[must_use]
    pub fn next_position(&self, after: Position) -> Option<Position> {
        let Position { epoch, seq } = after;
        match self.last_of(epoch)? {
            last if seq < last => Some(Position { epoch, seq: seq.next() }),
            last if seq == last && epoch < self.core.epoch => Some(Position { epoch: epoch.next(), seq: Seq(0) }),
            _ => None,
        }
    }

    /// The log entry that holds the local change at `position`; `None` if it is older than the known entries, or does
    /// not exist.
    #[must_use]
    pub fn locate(&self, position: Position) -> Option<Located> {
        self.last_of(position.epoch).filter(|last| position.seq <= *last)?;
        self.outbox.locate(position)
    }

    /// Records that the log no longer holds the entries before `index`. It affects only [`State::locate`].
    pub fn forget_log_before(&mut self, index: LogIndex) {
        self.outbox.forget_before(index);
    }
}
