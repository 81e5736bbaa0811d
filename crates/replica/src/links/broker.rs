//! Records that a broker brings, and what is done when it cannot.
//!
//! The shell reads the partition of an origin shard from a place on and hands over what it finds. A record that cannot
//! be taken is stepped over: sequences are dense, so the next record shows whether anything is missing. What is missing
//! is read again once; if it is still missing the origin itself is asked (the detour: its log, then a seed), until what
//! the bad place hid is applied; then the broker is read on from there. While the origin cannot be reached the link
//! stands still.

use meridian_model::{OriginShard, Position, Seq};
use meridian_shard::SourcePosition;
use meridian_tail::Record;

use super::Link;
use crate::{Command, Poison, Replica};

/// The origin is read instead of the broker.
#[derive(Debug)]
pub(super) struct Detour {
    /// Until this is applied.
    until: Position,
    /// The record that showed the gap.
    shown_by: SourcePosition,
    /// Where the broker is read on then.
    resume: SourcePosition,
}

impl Link {
    /// Back to the broker when what it lacked is applied. It is read on behind what stands in the state, or behind the bad
    /// place.
    pub(super) fn end_detour(&mut self, applied: Position, held: Option<SourcePosition>) {
        match &self.detour {
            Some(detour) if applied < detour.until => self.source = detour.resume,
            Some(detour) => {
                self.source = detour.resume;
                self.detour = None;
                self.gap = None;
            }
            None => self.source = held.unwrap_or(SourcePosition::Direct),
        }
    }
}

impl Replica {
    /// Records that [`Command::Follow`] asked for.
    pub(crate) fn broker_records(&mut self, call: u64, records: Vec<(Record, SourcePosition)>, origin_shards: u16) {
        let Some(origin) = self.links.calls.get(&call).cloned() else { return };
        if self.is_leading() {
            self.take_records(&origin, records, origin_shards);
        }
    }

    /// A record that [`Command::Follow`] came upon and that says nothing.
    pub(crate) fn broker_poison(&mut self, call: u64, poison: Poison) {
        let Some(origin) = self.links.calls.get(&call).cloned() else { return };
        self.note_poison(&origin, poison);
    }

    pub(super) fn note_poison(&mut self, origin: &OriginShard, poison: Poison) {
        self.counters.poisons_met += 1;
        if let Some(link) = self.links.links.get_mut(origin) {
            link.poison = Some((self.now.mono, poison.clone()));
            self.out.push(Command::Poisoned { origin: origin.clone(), poison });
        }
    }

    /// The record at `shown_by` can only be taken behind `before`, and what leads there is missing.
    pub(super) fn broker_gap(&mut self, origin: &OriginShard, before: Position, shown_by: SourcePosition) {
        let Some(link) = self.links.links.get_mut(origin) else { return };
        let missing = link.follower.received().seq.next();
        if link.gap.replace(missing) != Some(missing) {
            return;
        }
        link.detour = Some(Detour { until: before, shown_by, resume: one_before(shown_by) });
        self.counters.detours += 1;
    }

    pub(super) fn is_past_detour(&self, origin: &OriginShard) -> bool {
        let applied = self.state.tail_position(origin);
        let detour = self.links.links.get(origin).and_then(|link| link.detour.as_ref());
        detour.is_some_and(|detour| applied >= detour.until)
    }

    /// The origin stands at `at`. A record of the broker that claims more was not written by it.
    pub(super) fn origin_has_no_more(&mut self, origin: &OriginShard, at: Position) {
        let Some(detour) = self.links.links.get_mut(origin).and_then(|link| link.detour.as_mut()) else { return };
        if at >= detour.until {
            return;
        }
        let seq = detour.until.seq;
        let fault = format!("stands behind sequence {seq}; the origin has no more than {}", at.seq);
        let poison = Poison { at: detour.shown_by, seq: Some(Seq(seq.0 + 1)), fault };
        (detour.until, detour.resume) = (at, detour.shown_by);
        self.note_poison(origin, poison);
        if self.is_past_detour(origin) {
            self.close_link(origin);
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
