//! One reader of this shard's log, and what it gets.

use std::time::Duration;

use meridian_model::{Delta, Epoch, Position, Seq, Statement};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::TailAnswer;
use meridian_shard::State;

use super::{Ctx, FORGET_AFTER, Reader, Refusal};
use crate::record::delta_bytes;

/// Bytes of records in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Where the log stands is repeated this often when nothing changes, so that silence can be told from a cut link.
const REPEAT_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Stream {
    /// The newest position sent.
    sent: Position,
    /// The newest statement sent.
    complete: Option<Statement>,
    /// Bytes that may still be sent.
    credit: u64,
    heard: Duration,
    spoken: Duration,
}

impl Stream {
    /// A stream from behind `after`, or why this replica cannot serve it.
    pub(super) fn open(cx: &Ctx<'_>, after: Position, credit: u64) -> Result<Self, Refusal> {
        if !cx.is_trusted {
            return Err(Refusal::Unavailable);
        }
        let state = cx.state;
        // Never heard of means: from the first delta of the first incarnation.
        let sent = if after.epoch.0 == 0 { Position { epoch: Epoch(1), seq: Seq(0) } } else { after };
        // Ahead of what this replica has applied: it is the slow one, not the reader.
        if sent > state.position(state.origin()) {
            return Err(Refusal::Unavailable);
        }
        // Behind the end of an epoch that is over stands nothing: what the reader has beyond it is not of this log.
        let is_of_this_log = state.last_of(sent.epoch).is_some_and(|last| sent.seq <= last);
        if !is_of_this_log || next_change(state, sent).is_some_and(|next| !is_held(cx, next)) {
            return Err(Refusal::Gone);
        }
        Ok(Self { sent, complete: None, credit, heard: cx.now, spoken: Duration::ZERO })
    }

    pub(super) fn give_credit(&mut self, cx: &Ctx<'_>, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
        self.heard = cx.now;
    }

    /// Whether its reader said nothing for so long that it is forgotten.
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) >= FORGET_AFTER
    }

    /// Sends what there is, as far as the credit reaches. `false` when the log does not hold what comes next: the reader was
    /// told so, and the stream is over.
    pub(super) fn serve(&mut self, cx: &mut Ctx<'_>, reader: &Reader) -> bool {
        let state = cx.state;
        let end = state.position(state.origin());
        loop {
            // What counts here is of a position that is applied here, so it can be told behind the deltas up to there.
            let news = cx.statement.filter(|statement| self.complete != Some(*statement));
            if self.sent == end {
                if news.is_some() || cx.now.saturating_sub(self.spoken) >= REPEAT_AFTER {
                    self.say(cx, reader, Vec::new(), end, news);
                }
                return true;
            }
            let Some(next) = next_change(state, self.sent) else {
                // A new epoch began, and has no change yet.
                self.say(cx, reader, Vec::new(), end, news.filter(|statement| statement.through <= end));
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
            self.say(cx, reader, encoded, upto, news.filter(|statement| statement.through <= upto));
        }
    }

    fn say(
        &mut self,
        cx: &mut Ctx<'_>,
        reader: &Reader,
        deltas: Vec<DeltaBytes>,
        at: Position,
        complete: Option<Statement>,
    ) {
        self.sent = at;
        self.complete = complete.or(self.complete);
        self.spoken = cx.now;
        cx.send(reader, TailAnswer::Records { deltas, at, complete, origin_shards: cx.shards });
    }
}

/// Whether the log still holds the entry of the change at this position.
fn is_held(cx: &Ctx<'_>, position: Position) -> bool {
    cx.state.locate(position).is_some_and(|located| located.index >= cx.log.first_index())
}

/// The deltas of one epoch from `first` on, from the log: at least one, about `budget` bytes.
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

/// Position of the first change behind `after` in this shard's own log. Epochs without a change are stepped over.
fn next_change(state: &State, mut after: Position) -> Option<Position> {
    loop {
        after = state.next_position(after)?;
        if after.seq > Seq(0) {
            return Some(after);
        }
    }
}
