//! Decodes, checks and orders the records of a followed log.

use std::time::Duration;

use meridian_model::{Delta, Position};
use meridian_proto::delta_bytes::{DeltaBytes, DeltaError};
use meridian_proto::frame::TailAnswer;
use meridian_shard::SourcePosition;

use super::Ctx;
use super::link::{Link, Path, Phase};
use super::log_follower::ReceiveOutcome;
use crate::{Effect, Poison, Record, record_bytes};

/// Delay before the origin is reread after it sent a delta that cannot be applied.
const POISON_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Link {
    pub(super) fn answer(&mut self, cx: &mut Ctx<'_>, call: u64, answer: TailAnswer) {
        if !matches!(answer, TailAnswer::Unavailable) {
            self.last_received = Some(cx.now);
        }
        match answer {
            TailAnswer::Records { deltas, at, complete, .. } => {
                let is_newest = deltas.is_empty();
                let (deltas, fault) = decode_up_to_fault(&deltas);
                // Records after a delta that cannot be decoded are not received.
                let mark = fault.is_none().then_some(Record::Mark { at, complete });
                let records = deltas.into_iter().map(Record::Delta).chain(mark);
                self.receive(cx, records.map(|record| (record, SourcePosition::Direct)).collect());
                if let Some(fault) = fault {
                    self.undecodable_delta(cx, call, &fault);
                } else if is_newest {
                    self.origin_has_no_more(cx, at);
                }
            }
            TailAnswer::Gone => self.begin_seed(cx),
            TailAnswer::Unavailable => self.close(cx),
            TailAnswer::Seed(page) => self.seed_page(cx, page),
        }
    }

    /// The origin sent a delta that this build cannot decode. Stops this link only, and reopens it after a delay.
    fn undecodable_delta(&mut self, cx: &mut Ctx<'_>, call: u64, fault: &DeltaError) {
        // An earlier delta of this answer has closed the stream.
        if !matches!(self.phase, Phase::Streaming { call: open, .. } if open == call) {
            return;
        }
        let seq = Some(self.log.received().seq.next());
        self.note_poison(cx, Poison { at: SourcePosition::Direct, seq, fault: fault.to_string() });
        self.close_for(cx, POISON_RETRY_AFTER);
    }

    /// Receives records up to the first gap.
    pub(super) fn receive(&mut self, cx: &mut Ctx<'_>, records: Vec<(Record, SourcePosition)>) {
        self.last_received = Some(cx.now);
        let mut path = Path::Direct;
        if let Phase::Streaming { last_received, path: from, .. } = &mut self.phase {
            *last_received = cx.now;
            path = *from;
        }
        let (mut gap, mut poison, mut unused): (Option<(Position, SourcePosition)>, _, _) = (None, None, 0);
        for (record, source) in records {
            let bytes = record_bytes(&record);
            self.skip_gap(cx, &record);
            if let Some(fault) = self.fault(cx, &record) {
                unused += bytes;
                poison = Some(Poison { at: source, seq: Some(record.position().seq), fault });
                match path {
                    // The next record reveals the gap.
                    Path::Broker => continue,
                    Path::Direct => break,
                }
            }
            let (predecessor, is_delta) = (record.predecessor(), matches!(record, Record::Delta(_)));
            let statement = if let Record::Mark { complete, .. } = &record { *complete } else { None };
            match self.log.receive(record) {
                ReceiveOutcome::Accepted => {
                    self.received_bytes += bytes;
                    let origin = self.log.origin();
                    cx.effects
                        .extend(statement.map(|statement| Effect::Statement { origin: origin.clone(), statement }));
                    if path == Path::Broker {
                        let taken = self.log.received();
                        self.sources.pop_back_if(|(at, _)| *at == taken);
                        self.sources.push_back((taken, source));
                    }
                }
                ReceiveOutcome::Duplicate => {
                    unused += bytes;
                    // A mark without news is not a duplicate.
                    cx.counters.duplicates_dropped += u64::from(is_delta);
                }
                ReceiveOutcome::Gap { .. } | ReceiveOutcome::NewEpoch { .. } => {
                    gap = Some((predecessor, source));
                    break;
                }
            }
        }
        cx.effects.push(Effect::RecheckReads);
        if unused > 0 {
            self.give_credit(cx, unused);
        }
        let is_poisoned = poison.is_some();
        if let Some(poison) = poison {
            self.note_poison(cx, poison);
        }
        // Deltas before the gap must not wait for the missing ones.
        self.propose_batches(cx);
        if let Some((predecessor, source)) = gap {
            cx.counters.gaps_healed += 1;
            self.close(cx);
            if path == Path::Broker {
                self.broker_gap(cx, predecessor, source);
            }
        } else if is_poisoned && path == Path::Direct {
            self.close_for(cx, POISON_RETRY_AFTER);
        }
    }

    /// Returns the reason why a new delta cannot be applied, if any.
    fn fault(&self, cx: &Ctx<'_>, record: &Record) -> Option<String> {
        let Record::Delta(delta) = record else { return None };
        if delta.position() <= self.log.received() {
            return None;
        }
        cx.state.check_remote(std::slice::from_ref(delta)).err().map(|(_, fault)| fault.to_string())
    }

    #[cfg(feature = "fault-injection")]
    fn skip_gap(&mut self, cx: &Ctx<'_>, record: &Record) {
        if cx.accepts_gap() {
            self.log.skip_to(record);
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    #[expect(clippy::unused_self, reason = "with fault injection it changes the follower")]
    const fn skip_gap(&mut self, _: &Ctx<'_>, _: &Record) {}
}

/// Decodes the deltas before the first that cannot be decoded, and returns its error.
fn decode_up_to_fault(encoded: &[DeltaBytes]) -> (Vec<Delta>, Option<DeltaError>) {
    let mut deltas = Vec::with_capacity(encoded.len());
    for bytes in encoded {
        match bytes.decode() {
            Ok(delta) => deltas.push(delta),
            Err(fault) => return (deltas, Some(fault)),
        }
    }
    (deltas, None)
}
