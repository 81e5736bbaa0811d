//! Reading the origin itself when a broker lacks records.
//!
//! The shell reads the partition of an origin shard from a place on and hands over what it finds. A record that cannot
//! be taken is stepped over: sequences are dense, so the next record shows whether anything is missing. What is missing
//! is read again once; if it is still missing the origin itself is asked (its log, then a re-seed), until what the bad place
//! hid is applied; then the broker is read on from there. While the origin cannot be reached the link stands still.

use meridian_model::{Position, Seq};
use meridian_shard::SourcePosition;

use super::Ctx;
use super::link::Link;
use crate::Poison;

/// The origin is read instead of the broker.
#[derive(Debug)]
pub(super) struct OriginFallback {
    /// Until this is applied.
    until: Position,
    /// The record that showed the gap.
    gap_evidence: SourcePosition,
    /// Where the broker is read on then.
    resume: SourcePosition,
}

impl Link {
    /// Back to the broker when what it lacked is applied. It is read on behind what stands in the state (`held`), or behind
    /// the bad place.
    pub(super) fn end_fallback(&mut self, applied: Position, held: Option<SourcePosition>) {
        match &self.fallback {
            Some(fallback) if applied < fallback.until => self.source = fallback.resume,
            Some(fallback) => {
                self.source = fallback.resume;
                self.fallback = None;
                self.gap = None;
            }
            None => self.source = held.unwrap_or(SourcePosition::Direct),
        }
    }

    /// The record at `gap_evidence` can only be taken behind `predecessor`, and what leads there is missing.
    pub(super) fn broker_gap(&mut self, cx: &mut Ctx<'_>, predecessor: Position, gap_evidence: SourcePosition) {
        let missing = self.log.received().seq.next();
        if self.gap.replace(missing) != Some(missing) {
            return;
        }
        let resume = one_before(gap_evidence);
        self.fallback = Some(OriginFallback { until: predecessor, gap_evidence, resume });
        cx.counters.detours += 1;
    }

    pub(super) fn is_past_fallback(&self, cx: &Ctx<'_>) -> bool {
        let is_past = |fallback: &OriginFallback| cx.state.tail_position(self.origin()) >= fallback.until;
        self.fallback.as_ref().is_some_and(is_past)
    }

    /// The origin stands at `at`. A record of the broker that claims more was not written by it.
    pub(super) fn origin_has_no_more(&mut self, cx: &mut Ctx<'_>, at: Position) {
        let Some(fallback) = self.fallback.as_mut().filter(|fallback| at < fallback.until) else { return };
        let seq = fallback.until.seq;
        let fault = format!("stands behind sequence {seq}; the origin has no more than {}", at.seq);
        let poison = Poison { at: fallback.gap_evidence, seq: Some(Seq(seq.0 + 1)), fault };
        (fallback.until, fallback.resume) = (at, fallback.gap_evidence);
        self.note_poison(cx, poison);
        if self.is_past_fallback(cx) {
            self.close(cx);
        }
    }
}

/// The place behind which the record at `place` is the next.
fn one_before(place: SourcePosition) -> SourcePosition {
    match place {
        SourcePosition::Kafka { partition, offset } => SourcePosition::Kafka { partition, offset: offset - 1 },
        SourcePosition::Direct => SourcePosition::Direct,
    }
}
