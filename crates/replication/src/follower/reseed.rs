//! Re-seeds an origin shard page by page when the applied position is no longer in the origin's log.

use std::time::Duration;

use meridian_model::{CollectionUid, OriginShard, PointId, Position};
use meridian_proto::frame::{SeedPage, SeedPoint as SentPoint, TailCall};
use meridian_shard::{Entry, Outcome, SeedPoint, SeedStep, Stamp};

use super::Ctx;
use super::link::{Link, Phase};

/// Progress of a re-seed.
#[derive(Debug)]
pub(super) struct Seeding {
    pub(super) call: u64,
    /// Time at which the current page was requested.
    asked: Duration,
    /// Position of the first page.
    at: Option<Position>,
    after: Option<(CollectionUid, PointId)>,
    /// The proposed step. When it is applied, the next page is requested or the seed ends.
    proposed: Option<Proposed>,
}

#[derive(Debug)]
struct Proposed {
    origin_shards: u16,
    next: Option<(CollectionUid, PointId)>,
    committing: bool,
    since: Duration,
}

impl Seeding {
    /// Time since which the re-seed waits for a page or for the log.
    pub(super) fn since(&self) -> Duration {
        self.proposed.as_ref().map_or(self.asked, |proposed| proposed.since)
    }

    /// Returns `true` while a page is proposed and not applied.
    pub(super) fn is_proposed(&self) -> bool {
        self.proposed.is_some()
    }
}

impl Link {
    /// Starts a re-seed: the origin's log no longer contains the applied position.
    pub(super) fn begin_seed(&mut self, cx: &mut Ctx<'_>) {
        self.close(cx);
        cx.counters.reseeds += 1;
        self.phase = Phase::Seeding(Seeding { call: 0, asked: cx.now, at: None, after: None, proposed: None });
        self.ask_for_page(cx);
    }

    pub(super) fn ask_for_page(&mut self, cx: &mut Ctx<'_>) {
        let call = cx.numbers.allocate();
        let Phase::Seeding(seeding) = &mut self.phase else { return };
        (seeding.call, seeding.asked, seeding.proposed) = (call, cx.now, None);
        let body = TailCall::Seed { at: seeding.at, after: seeding.after };
        self.send(cx, call, body);
    }

    pub(super) fn seed_page(&mut self, cx: &mut Ctx<'_>, page: SeedPage) {
        let Phase::Seeding(seeding) = &mut self.phase else { return };
        if seeding.is_proposed() {
            return;
        }
        let is_first = seeding.at.is_none();
        seeding.at.get_or_insert(page.at);
        let (origin_shards, next, since) = (page.origin_shards, page.next, cx.now);
        seeding.proposed = Some(Proposed { origin_shards, next, committing: false, since });
        let table = cx.state.table();
        let points = (page.points.into_iter())
            .filter(|point| table.shard_of(point.point) == cx.shard)
            .map(|point| seed_point(self.origin(), point))
            .collect();
        if is_first {
            self.propose_seed(cx, SeedStep::Begin { at: page.at, largest_uid: page.largest_uid });
        }
        self.propose_seed(cx, SeedStep::Chunk { collections: page.collections, points, read_at: page.read_at });
    }

    fn propose_seed(&mut self, cx: &mut Ctx<'_>, step: SeedStep) {
        if !cx.log.propose(&Entry::Seed { origin: self.origin().clone(), step }) {
            self.close(cx);
        }
    }

    /// A step of a seed was applied or refused.
    pub(super) fn seed_applied(&mut self, cx: &mut Ctx<'_>, outcome: &Outcome) {
        let Phase::Seeding(seeding) = &mut self.phase else { return };
        match outcome {
            Outcome::SeedBegun { .. } => {}
            Outcome::SeedMerged { .. } => {
                let (Some(at), Some(proposed)) = (seeding.at, seeding.proposed.as_mut()) else { return };
                if proposed.next.is_some() {
                    seeding.after = proposed.next;
                    return self.ask_for_page(cx);
                }
                if !proposed.committing {
                    (proposed.committing, proposed.since) = (true, cx.now);
                    let origin_shards = proposed.origin_shards;
                    self.propose_seed(cx, SeedStep::Commit { position: at, origin_shards });
                }
            }
            Outcome::Seeded { .. } => self.close(cx),
            _ => self.begin_seed(cx),
        }
    }
}

fn seed_point(origin: &OriginShard, point: SentPoint) -> SeedPoint {
    let Position { epoch, seq } = point.position;
    let stamp = Stamp { hlc: point.committed_at, origin: origin.clone(), epoch, seq };
    let SentPoint { collection, point, vectors, payload, .. } = point;
    SeedPoint { collection, point, vectors, payload, stamp }
}
