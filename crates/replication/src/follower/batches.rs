//! Proposes received deltas as batches.

use std::time::Duration;

use meridian_model::{Op, Position};
use meridian_shard::{Entry, RemoteBatch};

use super::Ctx;
use super::link::Link;
use super::log_follower::Batch;

/// Deltas in one log entry.
const BATCH_DELTAS: usize = 256;
/// Maximum number of batches proposed and not applied. Further deltas wait, and their credit is withheld.
const BATCHES_UNDER_WAY: usize = 4;
/// Interval at which the read position of a broker is logged while only statements arrive. A new leader resumes from
/// there.
const COMMIT_SOURCE_EVERY: Duration = Duration::from_secs(60);

impl Link {
    pub(super) fn propose_batches(&mut self, cx: &mut Ctx<'_>) {
        if self.is_seeding() {
            return;
        }
        // Statements are not logged, so the read position is committed periodically by an empty batch.
        let is_read_on = self.sources.back().is_some_and(|(_, source)| *source != self.source);
        if is_read_on && self.under_way.is_empty() && cx.now.saturating_sub(self.last_proposed) >= COMMIT_SOURCE_EVERY {
            self.log.request_batch();
        }
        while self.under_way.len() < BATCHES_UNDER_WAY && cx.admits_growth {
            let Some(mut batch) = self.log.next_batch(BATCH_DELTAS) else { return };
            if cx.accepts_gap() {
                // Injected bug: a false `from` passes the shard's gap check.
                batch.from = meridian_model::Seq(1);
            }
            let end = Position { epoch: batch.epoch, seq: batch.to };
            while let Some((_, source)) = self.sources.pop_front_if(|(at, _)| *at <= end) {
                self.source = source;
            }
            let entry = self.entry_of(cx, batch);
            if !cx.log.propose(&entry) {
                return self.close(cx);
            }
            self.last_proposed = cx.now;
            self.under_way.push((end, std::mem::take(&mut self.received_bytes)));
        }
    }

    /// Builds the log entry of a batch. Omits no-ops and points of other shards; `from..=to` still covers their
    /// sequences.
    fn entry_of(&self, cx: &Ctx<'_>, batch: Batch) -> Entry {
        let Batch { epoch, from, to, mut deltas } = batch;
        deltas.retain(|delta| match &delta.op {
            Op::Upsert { point, .. } | Op::Delete { point, .. } => cx.state.table().shard_of(*point) == cx.shard,
            Op::Nothing => false,
            Op::CreateCollection { .. } | Op::DropCollection { .. } => true,
        });
        let (origin, origin_shards, source) = (self.origin().clone(), self.origin_shards, self.source);
        Entry::RemoteBatch(RemoteBatch { origin, epoch, from, to, deltas, origin_shards, source })
    }

    /// Records that everything up to `position` is applied.
    pub(super) fn merged(&mut self, cx: &mut Ctx<'_>, position: Position) {
        self.log.applied(position);
        let mut credit = 0;
        self.under_way.retain(|(end, bytes)| {
            let is_applied = *end <= position;
            credit += if is_applied { *bytes } else { 0 };
            !is_applied
        });
        if credit > 0 {
            self.give_credit(cx, credit);
        }
        if self.is_past_fallback(cx) {
            return self.close(cx);
        }
        self.propose_batches(cx);
    }
}
