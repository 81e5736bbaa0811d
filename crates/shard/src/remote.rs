//! Application of remote deltas: each one once, in order, or not at all.

use meridian_model::{Op, Position, Seq};

use crate::apply::ChangeCounts;
use crate::outcome::{Merged, Outcome};
use crate::{RemoteBatch, Stamp, State};

impl State {
    /// Drops known deltas, refuses a gap, else applies changes, version vector and source position in one step:
    /// exactly-once in effect rests on this.
    pub(crate) fn merge_batch(&mut self, batch: &RemoteBatch, counts: &mut ChangeCounts) -> Outcome {
        let origin = batch.origin.clone();
        if let Err(reason) = self.consistent(batch) {
            return Outcome::Malformed { origin, reason };
        }
        if self.is_seeding(&origin) {
            return Outcome::SeedRunning { origin };
        }
        let held = self.tail_position(&origin);
        if batch.epoch < held.epoch {
            return Outcome::EpochRefused { origin, held };
        }
        // A new epoch counts from 1.
        let known = if batch.epoch > held.epoch { Seq(0) } else { held.seq };
        if batch.from > known.next() {
            return Outcome::GapRefused { origin, wanted: Position { epoch: batch.epoch, seq: known.next() } };
        }
        #[cfg(feature = "fault-injection")]
        let known = if self.skips_vv_check { Seq(batch.from.0 - 1) } else { known };
        for delta in batch.deltas.iter().filter(|delta| delta.seq > known) {
            self.see(delta.committed_at);
            let elsewhere = match &delta.op {
                Op::Upsert { point, .. } | Op::Delete { point, .. } => !self.owns(*point),
                Op::CreateCollection { .. } | Op::DropCollection { .. } | Op::Nothing => false,
            };
            if elsewhere {
                counts.idle += 1;
            } else {
                // One shared origin for all points instead of one text for each.
                self.change(&delta.op, Stamp { origin: origin.clone(), ..Stamp::of(delta) }, counts);
            }
        }
        let newest = if batch.epoch > held.epoch { known } else { held.seq };
        let position = Position { epoch: batch.epoch, seq: newest.max(batch.to) };
        // An empty batch only advances the position of its source beyond the held one.
        let news = position > held || (batch.deltas.is_empty() && batch.to == held.seq);
        if !self.advance_seed(&origin, position) {
            self.core.vv.advance(&origin, position);
        }
        self.note_shards(&origin.region, batch.origin_shards);
        if news {
            // A repeat read from further back must not move the link back.
            self.core.sources.insert(origin.clone(), batch.source);
        }
        Outcome::Merged(Merged {
            origin,
            duplicates: (known.0.min(batch.to.0) + 1).saturating_sub(batch.from.0),
            advanced: position.seq.0 - known.0,
            position,
        })
    }

    pub(crate) fn note_shards(&mut self, region: &meridian_model::RegionName, shards: u16) {
        if shards > 0 {
            self.core.origin_shards.insert(region.clone(), shards);
        }
    }

    fn consistent(&self, batch: &RemoteBatch) -> Result<(), &'static str> {
        if batch.origin.region == self.core.me.region {
            return Err("its origin is this region");
        }
        if batch.to.0 == u64::MAX {
            return Err("its last sequence has none behind it");
        }
        if batch.epoch.0 == 0 || batch.from.0 == 0 || batch.from.0 > batch.to.0 + 1 {
            return Err("its sequences are no run");
        }
        let mut last = Seq(batch.from.0 - 1);
        for delta in &batch.deltas {
            if delta.origin != batch.origin || delta.epoch != batch.epoch {
                return Err("a delta is of another log");
            }
            if delta.seq <= last || delta.seq > batch.to {
                return Err("a delta is out of order");
            }
            last = delta.seq;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
