//! Reads the origin when a broker lacks records.
//!
//! The shell reads the partition of an origin shard from an offset and passes on its records. A record that cannot be
//! applied is skipped: sequences are dense, so the next record reveals a gap. The gap is reread once. If records are
//! still missing, the link reads the origin (its log, then a re-seed) until the gap is applied, then resumes the
//! broker. The link stalls while the origin is unreachable.

use meridian_model::{Position, Seq};
use meridian_shard::SourcePosition;

use super::Ctx;
use super::link::Link;
use crate::Poison;

/// State of a link that reads the origin instead of the broker.
#[derive(Debug)]
pub(super) struct OriginFallback {
    /// The fallback ends when this position is applied.
    until: Position,
    /// Record that revealed the gap.
    gap_evidence: SourcePosition,
    /// Source position at which the broker is resumed.
    resume: SourcePosition,
}

impl Link {
    /// Ends the fallback when the gap is applied. The broker is resumed after the source position in the state
    /// (`held`), or after the gap.
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

    /// Handles a record at `gap_evidence` whose `predecessor` was not received.
    pub(super) fn broker_gap(&mut self, cx: &mut Ctx<'_>, predecessor: Position, gap_evidence: SourcePosition) {
        let missing = self.log.received().seq.next();
        if self.gap.replace(missing) != Some(missing) {
            return;
        }
        let resume = one_before(gap_evidence);
        self.fallback = Some(OriginFallback { until: predecessor, gap_evidence, resume });
        cx.counters.origin_fallbacks += 1;
    }

    pub(super) fn is_past_fallback(&self, cx: &Ctx<'_>) -> bool {
        let is_past = |fallback: &OriginFallback| cx.state.tail_position(self.origin()) >= fallback.until;
        self.fallback.as_ref().is_some_and(is_past)
    }

    /// The log of the origin ends at `at`. A broker record with a newer position was not written by this origin.
    pub(super) fn origin_has_no_more(&mut self, cx: &mut Ctx<'_>, at: Position) {
        let Some(fallback) = self.fallback.as_mut().filter(|fallback| at < fallback.until) else { return };
        let seq = fallback.until.seq;
        let fault = format!("follows sequence {seq}; the origin has no more than {}", at.seq);
        let poison = Poison { at: fallback.gap_evidence, seq: Some(Seq(seq.0 + 1)), fault };
        (fallback.until, fallback.resume) = (at, fallback.gap_evidence);
        self.note_poison(cx, poison);
        if self.is_past_fallback(cx) {
            self.close(cx);
        }
    }
}

/// Source position directly before `place`.
fn one_before(place: SourcePosition) -> SourcePosition {
    match place {
        SourcePosition::Kafka { partition, offset } => SourcePosition::Kafka { partition, offset: offset - 1 },
        SourcePosition::Direct => SourcePosition::Direct,
    }
}
