//! Stream of this shard's log to one reader.

use std::time::Duration;

use meridian_model::{Delta, Epoch, Position, Seq, Statement};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::TailAnswer;
use meridian_shard::State;

use super::{Ctx, FORGET_AFTER, Reader, Refusal};
use crate::record::delta_bytes;

/// Maximum bytes of records in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Interval at which the log position is repeated when nothing changes, so that readers detect a broken link.
const REPEAT_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Stream {
    /// The newest position sent.
    sent: Position,
    /// The newest statement sent.
    complete: Option<Statement>,
    /// Bytes that may still be sent.
    credit: u64,
    last_received: Duration,
    last_sent: Duration,
}

impl Stream {
    /// Opens a stream after `after`, or returns why this replica cannot serve it.
    pub(super) fn open(cx: &Ctx<'_>, after: Position, credit: u64) -> Result<Self, Refusal> {
        if !cx.is_trusted {
            return Err(Refusal::Unavailable);
        }
        let state = cx.state;
        // Epoch 0: the reader has nothing and starts at the first delta of the first epoch.
        let sent = if after.epoch.0 == 0 { Position { epoch: Epoch(1), seq: Seq(0) } } else { after };
        // The reader is ahead of this replica's applied position: this replica lags.
        if sent > state.position(state.origin()) {
            return Err(Refusal::Unavailable);
        }
        // A position after the end of a closed epoch does not belong to this log.
        let is_of_this_log = state.last_of(sent.epoch).is_some_and(|last| sent.seq <= last);
        if !is_of_this_log || next_change(state, sent).is_some_and(|next| !is_held(cx, next)) {
            return Err(Refusal::Gone);
        }
        Ok(Self { sent, complete: None, credit, last_received: cx.now, last_sent: Duration::ZERO })
    }

    pub(super) fn give_credit(&mut self, cx: &Ctx<'_>, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
        self.last_received = cx.now;
    }

    /// Returns `true` if the reader has sent nothing for [`FORGET_AFTER`].
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.last_received) >= FORGET_AFTER
    }

    /// Sends the available records within the credit. Returns `false` if the log no longer holds the next record: the
    /// reader received `Gone`, and the stream is closed.
    pub(super) fn serve(&mut self, cx: &mut Ctx<'_>, reader: &Reader) -> bool {
        let state = cx.state;
        let end = state.position(state.origin());
        loop {
            // The statement's position is applied here, so it is sent after the deltas up to that position.
            let news = cx.statement.filter(|statement| self.complete != Some(*statement));
            if self.sent == end {
                if news.is_some() || cx.now.saturating_sub(self.last_sent) >= REPEAT_AFTER {
                    self.send_records(cx, reader, Vec::new(), end, news);
                }
                return true;
            }
            let Some(next) = next_change(state, self.sent) else {
                // A new epoch began and has no change yet.
                self.send_records(cx, reader, Vec::new(), end, news.filter(|statement| statement.through <= end));
                return true;
            };
            if self.credit == 0 {
                return true;
            }
            let budget = self.credit.min(MESSAGE_BYTES);
            let deltas = if is_held(cx, next) { deltas_from(cx, next, budget) } else { Vec::new() };
            let Some(upto) = deltas.last().map(Delta::position) else {
                cx.send(reader, TailAnswer::Gone);
                return false;
            };
            self.credit = self.credit.saturating_sub(deltas.iter().map(delta_bytes).sum());
            let encoded = deltas.iter().map(DeltaBytes::encode).collect();
            self.send_records(cx, reader, encoded, upto, news.filter(|statement| statement.through <= upto));
        }
    }

    fn send_records(
        &mut self,
        cx: &mut Ctx<'_>,
        reader: &Reader,
        deltas: Vec<DeltaBytes>,
        at: Position,
        complete: Option<Statement>,
    ) {
        self.sent = at;
        self.complete = complete.or(self.complete);
        self.last_sent = cx.now;
        cx.send(reader, TailAnswer::Records { deltas, at, complete, origin_shards: cx.shards });
    }
}

/// Returns `true` if the log still holds the entry of the change at this position.
fn is_held(cx: &Ctx<'_>, position: Position) -> bool {
    cx.state.locate(position).is_some_and(|located| located.index >= cx.log.first_index())
}

/// Reads deltas of one epoch from the log, starting at `first`: at least one, about `budget` bytes.
fn deltas_from(cx: &Ctx<'_>, first: Position, budget: u64) -> Vec<Delta> {
    let (mut deltas, mut bytes, mut next) = (Vec::new(), 0, first);
    while bytes < budget || deltas.is_empty() {
        let Some(located) = cx.state.locate(next) else { break };
        let Some(entry) = cx.log.entry(located.index) else { break };
        for delta in cx.state.deltas_of(located, &entry) {
            if delta.position() == next {
                bytes += delta_bytes(&delta);
                next.seq = next.seq.next();
                deltas.push(delta);
            }
        }
        if deltas.last().is_none_or(|delta| delta.seq.next() != next.seq) {
            break;
        }
    }
    deltas
}

/// Returns the position of the first change after `after` in this shard's own log. Epochs without changes are skipped.
fn next_change(state: &State, mut after: Position) -> Option<Position> {
    loop {
        after = state.next_position(after)?;
        if after.seq > Seq(0) {
            return Some(after);
        }
    }
}
