//! What a committed write tells other regions.

use meridian_model::{Delta, Hlc, Op, PointChange, Seq, Traceparent};

use crate::{Entry, Located, State};

impl State {
    /// The deltas of the applied entry that stands at `located`: a function of the committed log, and of which changes of a
    /// conditional write took place.
    ///
    /// Only local writes have any, and of a conditional write only as long as it is known what took place: until the log up
    /// to it is let go. [`State::locate`] names the entries that took sequences; another one must not be asked.
    #[must_use]
    pub fn deltas_of(&self, located: Located, entry: &Entry) -> Vec<Delta> {
        let delta = |i: usize, committed_at: Hlc, op: Op, trace: Option<Traceparent>| Delta {
            origin: self.core.me.clone(),
            epoch: self.core.epoch,
            seq: Seq(located.first.0 + i as u64),
            committed_at,
            op,
            trace,
        };
        match entry {
            Entry::Write(write) => {
                let ops = write.ops.iter().enumerate();
                ops.map(|(i, op)| delta(i, write.stamp(i), op.clone(), write.trace)).collect()
            }
            Entry::ConditionalWrite(write) => {
                let Some(took_place) = self.outbox.took_place(located.index) else { return Vec::new() };
                let op = |i: usize| match (took_place.holds(i), write.changes[i].change) {
                    (true, PointChange::Delete) => {
                        Op::Delete { collection: write.collection, point: write.changes[i].point }
                    }
                    (false, _) => Op::Nothing,
                };
                (0..write.changes.len()).map(|i| delta(i, write.stamp(i), op(i), write.trace)).collect()
            }
            _ => Vec::new(),
        }
    }
}
