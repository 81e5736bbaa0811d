//! Loading an origin shard anew, page by page, because its log no longer reaches back to where this shard is.

use std::time::Duration;

use meridian_model::{CollectionUid, OriginShard, PointId, Position};
use meridian_proto::frame::{SeedPage, TailCall};
use meridian_shard::{Entry, Outcome, SeedPoint, SeedStep, Stamp};

use super::{Link, Phase};
use crate::Replica;

#[derive(Debug)]
pub(super) struct Seeding {
    pub(super) call: u64,
    pub(super) asked: Duration,
    /// Where the first page stood.
    at: Option<Position>,
    after: Option<(CollectionUid, PointId)>,
    /// Proposed: ask for the next page, or end, when it is applied.
    pub(super) proposed: Option<Proposed>,
}

#[derive(Debug)]
pub(super) struct Proposed {
    origin_shards: u16,
    next: Option<(CollectionUid, PointId)>,
    committing: bool,
    pub(super) at_tick: Duration,
}

impl Replica {
    /// The log of the origin no longer reaches back to where this shard is.
    pub(super) fn begin_seed(&mut self, origin: &OriginShard) {
        self.close_link(origin);
        self.counters.reseeds += 1;
        let asked = self.now.mono;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        link.phase = Phase::Seeding(Seeding { call: 0, asked, at: None, after: None, proposed: None });
        self.ask_for_page(origin);
    }

    pub(super) fn ask_for_page(&mut self, origin: &OriginShard) {
        let call = self.number();
        let now = self.now.mono;
        let Some(Link { phase: Phase::Seeding(seeding), .. }) = self.links.links.get_mut(origin) else { return };
        self.links.calls.remove(&seeding.call);
        seeding.call = call;
        seeding.asked = now;
        seeding.proposed = None;
        let body = TailCall::Seed { at: seeding.at, after: seeding.after };
        self.links.calls.insert(call, origin.clone());
        self.tail_message(origin, call, body);
    }

    pub(super) fn seed_page(&mut self, origin: &OriginShard, page: SeedPage) {
        let (table, own) = (self.state.table().clone(), self.identity.node().shard);
        let now = self.now.mono;
        let Some(Link { phase: Phase::Seeding(seeding), .. }) = self.links.links.get_mut(origin) else { return };
        if seeding.proposed.is_some() {
            return;
        }
        let first = seeding.at.is_none();
        if first {
            seeding.at = Some(page.at);
        }
        let proposed = Proposed { origin_shards: page.origin_shards, next: page.next, committing: false, at_tick: now };
        seeding.proposed = Some(proposed);
        let points = (page.points.into_iter())
            .filter(|point| table.shard_of(point.point) == own)
            .map(|point| seed_point(origin, point))
            .collect();
        if first {
            let begin = SeedStep::Begin { at: page.at, largest_uid: page.largest_uid };
            self.propose_seed(origin, begin);
        }
        self.propose_seed(origin, SeedStep::Chunk { collections: page.collections, points, read_at: page.read_at });
    }

    fn propose_seed(&mut self, origin: &OriginShard, step: SeedStep) {
        let entry = Entry::Seed { origin: origin.clone(), step };
        if self.raft.propose(entry.encode()).is_err() {
            self.close_link(origin);
        }
    }

    /// A step of a seed was applied or refused.
    pub(crate) fn seed_applied(&mut self, origin: &OriginShard, outcome: &Outcome) {
        let now = self.now.mono;
        let Some(Link { phase: Phase::Seeding(seeding), .. }) = self.links.links.get_mut(origin) else { return };
        match outcome {
            Outcome::SeedBegun { .. } => {}
            Outcome::SeedMerged { .. } => {
                let (Some(at), Some(proposed)) = (seeding.at, seeding.proposed.as_mut()) else { return };
                if proposed.next.is_some() {
                    seeding.after = proposed.next;
                    return self.ask_for_page(origin);
                }
                if !proposed.committing {
                    proposed.committing = true;
                    proposed.at_tick = now;
                    let origin_shards = proposed.origin_shards;
                    self.propose_seed(origin, SeedStep::Commit { position: at, origin_shards });
                }
            }
            Outcome::Seeded { .. } => self.close_link(origin),
            _ => self.begin_seed(origin),
        }
    }
}

fn seed_point(origin: &OriginShard, point: meridian_proto::frame::SeedPoint) -> SeedPoint {
    let Position { epoch, seq } = point.position;
    let stamp = Stamp { hlc: point.committed_at, origin: origin.clone(), epoch, seq };
    let meridian_proto::frame::SeedPoint { collection, point, vectors, payload, .. } = point;
    SeedPoint { collection, point, vectors, payload, stamp }
}
