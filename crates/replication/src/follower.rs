//! Follows other regions. The leader of each shard reads the log of every shard of each source region and proposes the
//! received deltas.
//!
//! ```text
//!   closed ──open──► streaming ──records──► LogFollower ──Batch──► RemoteBatch proposed ──applied──► credit
//!      ▲               │ gap, silence, lost, refused: reopen after the applied position
//!      │               ▼ gone at every replica
//!      └──────────── seeding: page ──► Seed{Begin, Chunk, Commit} proposed ──applied──► next page
//! ```
//! Records are read from the origin, or from a broker by the shell. Records that a broker lacks are read from the
//! origin too (`origin_fallback`).

mod batches;
mod context;
mod link;
pub(crate) mod log_follower;
mod origin_fallback;
mod receive;
mod reseed;
mod status;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use meridian_model::{OriginShard, RegionName, ShardNumber, Topic};
use meridian_proto::frame::{Peer, TailAnswer};
use meridian_shard::{Outcome, SourcePosition};

pub use self::context::{Counters, Ctx, Propose};
use self::link::Link;
pub use self::status::LinkStatus;
use crate::{Poison, Record};

/// The followed origin shards.
#[derive(Debug, Default)]
pub struct Follower {
    links: BTreeMap<OriginShard, Link>,
}

/// Input of [`Follower::handle`].
#[derive(Debug)]
pub enum Event<'a> {
    /// This replica became the leader, or the links in the state changed. Links start from the applied positions.
    Start,
    /// This replica lost the leadership.
    Stop,
    /// Periodic tick, on the leader only.
    Tick,
    /// The connection to a region was opened or lost. Calls in flight on the previous connection are lost.
    Lost(&'a Peer),
    /// Another region answered a call.
    Answer {
        /// Number of the call.
        call: u64,
        /// The answer.
        answer: TailAnswer,
    },
    /// Records of a broker in log order, each with its source position.
    Records {
        /// Number of the call.
        call: u64,
        /// The records.
        records: Vec<(Record, SourcePosition)>,
        /// Number of shards of the origin region.
        origin_shards: u16,
    },
    /// A broker record that does not belong to the log or cannot be decoded.
    Poison {
        /// Number of the call.
        call: u64,
        /// The record.
        poison: Poison,
    },
    /// A batch of this origin shard was applied or refused.
    BatchApplied(&'a OriginShard, &'a Outcome),
    /// A re-seed step of this origin shard was applied or refused.
    SeedApplied(&'a OriginShard, &'a Outcome),
}

impl Follower {
    /// Handles one event and appends the resulting effects to those of `cx`.
    pub fn handle(&mut self, cx: &mut Ctx<'_>, event: Event<'_>) {
        match event {
            Event::Start => self.start(cx),
            Event::Stop => self.stop(cx),
            Event::Tick => self.links.values_mut().for_each(|link| link.tick(cx)),
            Event::Lost(peer) => self.lost(cx, peer),
            Event::Answer { call, answer } => self.answer(cx, call, answer),
            Event::Records { call, records, origin_shards } => self.records(cx, call, records, origin_shards),
            Event::Poison { call, poison } => {
                if let Some(link) = self.by_call(call) {
                    link.note_poison(cx, poison);
                }
            }
            Event::BatchApplied(origin, outcome) => self.batch_applied(cx, origin, outcome),
            Event::SeedApplied(origin, outcome) => {
                if let Some(link) = self.links.get_mut(origin) {
                    link.seed_applied(cx, outcome);
                }
            }
        }
    }

    /// Returns `true` if no origin shard is followed. Ticks and lost peers can then be skipped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.links.is_empty()
    }

    fn start(&mut self, cx: &mut Ctx<'_>) {
        self.stop(cx);
        let state = cx.state;
        for link in state.links().iter().filter(|link| !link.paused) {
            let known = state.origin_shards(&link.source).unwrap_or(1);
            self.add_links(cx, &link.source, known, link.topic());
        }
    }

    fn stop(&mut self, cx: &mut Ctx<'_>) {
        self.links.values_mut().for_each(|link| link.close(cx));
        self.links.clear();
    }

    fn add_links(&mut self, cx: &Ctx<'_>, region: &RegionName, origin_shards: u16, topic: Option<&Topic>) {
        for shard in ShardNumber::all(origin_shards) {
            if let MapEntry::Vacant(place) = self.links.entry(OriginShard { region: region.clone(), shard }) {
                let link = Link::new(cx, place.key().clone(), origin_shards, topic.cloned());
                place.insert(link);
            }
        }
    }

    fn lost(&mut self, cx: &mut Ctx<'_>, peer: &Peer) {
        let Peer::Region(region) = peer else { return };
        for link in self.links.values_mut().filter(|link| link.origin().region == *region && link.is_direct()) {
            link.close(cx);
        }
    }

    fn by_call(&mut self, call: u64) -> Option<&mut Link> {
        self.links.values_mut().find(|link| link.call() == Some(call))
    }

    fn answer(&mut self, cx: &mut Ctx<'_>, call: u64, answer: TailAnswer) {
        if let TailAnswer::Records { origin_shards, .. } = answer {
            self.update_origin_shards(cx, call, origin_shards);
        }
        if let Some(link) = self.by_call(call) {
            link.answer(cx, call, answer);
        }
    }

    fn records(&mut self, cx: &mut Ctx<'_>, call: u64, records: Vec<(Record, SourcePosition)>, origin_shards: u16) {
        self.update_origin_shards(cx, call, origin_shards);
        if let Some(link) = self.by_call(call) {
            link.receive(cx, records);
        }
    }

    /// Updates the origin's number of shards and follows the new ones.
    fn update_origin_shards(&mut self, cx: &Ctx<'_>, call: u64, origin_shards: u16) {
        let Some(link) = self.by_call(call).filter(|link| link.origin_shards < origin_shards) else { return };
        link.origin_shards = origin_shards;
        let region = link.origin().region.clone();
        let topic = cx.state.links().iter().find(|link| link.source == region).and_then(|link| link.topic());
        self.add_links(cx, &region, origin_shards, topic);
    }

    fn batch_applied(&mut self, cx: &mut Ctx<'_>, origin: &OriginShard, outcome: &Outcome) {
        match (outcome, self.links.get_mut(origin)) {
            (Outcome::Merged(merged), link) => {
                cx.counters.ops_merged += merged.advanced;
                cx.counters.duplicates_dropped += merged.duplicates;
                if let Some(link) = link {
                    link.merged(cx, merged.position);
                }
            }
            // An earlier leader began the seed, and no replica continues it.
            (Outcome::SeedRunning { .. }, Some(link)) if link.is_seeding() => {}
            (Outcome::SeedRunning { .. }, Some(link)) => link.begin_seed(cx),
            (_, link) => {
                cx.counters.gaps_healed += 1;
                if let Some(link) = link {
                    link.close(cx);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
