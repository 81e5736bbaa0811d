//! Following other regions: the leader of each shard chases every shard of each source region, and proposes what it gets.
//!
//! ```text
//!   closed ──open──► streaming ──records──► Chaser ──Batch──► RemoteBatch proposed ──applied──► credit
//!      ▲               │ gap, silence, lost, refused: open again behind what is applied
//!      │               ▼ gone at every replica
//!      └──────────── seeding: page ──► Seed{Begin, Chunk, Commit} proposed ──applied──► next page
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{CollectionUid, Hlc, OriginShard, PointId, Position, RegionName, Seq, ShardNumber};
use meridian_shard::{Entry, Outcome, RemoteBatch, SeedPoint, SeedStep, SourcePosition, Stamp};
use meridian_tail::{Batch, Chaser, Record, Taken};
use meridian_wire::frame::{RegionCall, RegionMessage, SeedPage, TailAnswer, TailCall};

use crate::settings::Sabotage;
use crate::{Command, Peer, Replica};

/// Bytes of records that may be under way to one chaser.
const CREDIT_BYTES: u64 = 8 << 20;
/// Deltas in one log entry.
const BATCH_DELTAS: usize = 256;
/// Batches proposed and not applied; what comes meanwhile waits, and so does the credit for it.
const BATCHES_UNDER_WAY: usize = 4;
/// A source that closes time every 50 ms and is silent for this long is asked anew.
const SILENCE: Duration = Duration::from_secs(1);
/// A reader tells its server this often that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Before a failed open or seed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// All origin shards that are chased.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<OriginShard, Link>,
    /// Number of a call under way → whom it chases.
    calls: BTreeMap<u64, OriginShard>,
}

/// One origin shard, chased.
#[derive(Debug)]
struct Link {
    chaser: Chaser,
    phase: Phase,
    origin_shards: u16,
    /// Source position behind what is taken in; moves with the batches.
    source: SourcePosition,
    /// Ends of the batches proposed and not applied, with the bytes they give back.
    under_way: Vec<(Position, u64)>,
    /// Bytes taken in and not in a batch yet.
    taken_bytes: u64,
    /// The records come from a broker.
    broker: bool,
}

#[derive(Debug)]
enum Phase {
    /// Opened at this time.
    Closed { again_at: Duration },
    /// Under this number; something was heard at this time.
    Streaming { call: u64, heard: Duration, spoken: Duration },
    /// Reading pages.
    Seeding(Seeding),
}

#[derive(Debug)]
struct Seeding {
    call: u64,
    asked: Duration,
    /// Where the first page stood, and the closed time that holds there.
    at: Option<Position>,
    closed: Hlc,
    after: Option<(CollectionUid, PointId)>,
    /// Proposed: ask for the next page, or end, when it is applied.
    proposed: Option<Proposed>,
}

#[derive(Debug)]
struct Proposed {
    origin_shards: u16,
    next: Option<(CollectionUid, PointId)>,
    committing: bool,
    at_tick: Duration,
}

impl Replica {
    /// A leader begins to chase: from what the state has, whoever led before.
    pub(crate) fn start_links(&mut self) {
        self.stop_links();
        for link in self.settings.links.clone() {
            if !link.paused && link.source != self.identity.genesis.region {
                let known = self.state.read().origin_shards(&link.source).unwrap_or(1);
                for shard in ShardNumber::all(known) {
                    self.open_link(OriginShard { region: link.source.clone(), shard }, known, link.kafka);
                }
            }
        }
    }

    pub(crate) fn stop_links(&mut self) {
        for (number, origin) in std::mem::take(&mut self.links.calls) {
            self.tail_message(&origin, number, TailCall::Close);
        }
        self.links.links.clear();
    }

    /// Changes what is followed; a leader acts at once.
    pub fn set_links(&mut self, links: Vec<crate::LinkSettings>) {
        if self.settings.links != links {
            self.settings.links = links;
            if self.is_leading() {
                self.start_links();
            }
        }
    }

    fn open_link(&mut self, origin: OriginShard, origin_shards: u16, broker: bool) {
        if self.links.links.contains_key(&origin) {
            return;
        }
        let state = self.state.read();
        let claimed = state.safe().get(&origin).copied().unwrap_or_default();
        let chaser = Chaser::new(origin.clone(), state.tail_position(&origin), claimed);
        let source = state.source_position(&origin).unwrap_or(SourcePosition::Direct);
        drop(state);
        let phase = Phase::Closed { again_at: self.now.mono };
        let link = Link { chaser, phase, origin_shards, source, under_way: Vec::new(), taken_bytes: 0, broker };
        self.links.links.insert(origin, link);
    }

    fn tail_message(&mut self, origin: &OriginShard, call: u64, body: TailCall) {
        let message = RegionMessage::Call(call, RegionCall::Tail(origin.shard, body));
        self.out.push(Command::SendRegion(Peer::Region(origin.region.clone()), message));
    }

    pub(crate) fn tick_links(&mut self) {
        if !self.is_leading() {
            return;
        }
        let now = self.now.mono;
        let origins: Vec<OriginShard> = self.links.links.keys().cloned().collect();
        for origin in origins {
            let Some(link) = self.links.links.get(&origin) else { continue };
            let stuck = |at: Duration| now.saturating_sub(at) >= SILENCE;
            match &link.phase {
                Phase::Closed { again_at } if *again_at <= now && !link.broker => self.open_stream(&origin),
                Phase::Streaming { heard, .. } if stuck(*heard) && !link.broker => self.close_link(&origin),
                Phase::Streaming { spoken, .. } if now.saturating_sub(*spoken) >= KEEP_ALIVE => {
                    self.give_credit(&origin, 0);
                }
                Phase::Seeding(Seeding { proposed: None, asked, .. }) if stuck(*asked) => self.ask_for_page(&origin),
                Phase::Seeding(Seeding { proposed: Some(proposed), .. }) if stuck(proposed.at_tick) => {
                    self.begin_seed(&origin);
                }
                _ => {}
            }
            self.propose_batches(&origin);
        }
    }

    fn give_credit(&mut self, origin: &OriginShard, bytes: u64) {
        let now = self.now.mono;
        let Some(Link { phase: Phase::Streaming { call, spoken, .. }, .. }) = self.links.links.get_mut(origin) else {
            return;
        };
        *spoken = now;
        let call = *call;
        self.tail_message(origin, call, TailCall::Credit(bytes));
    }

    fn open_stream(&mut self, origin: &OriginShard) {
        let call = self.number();
        let now = self.now.mono;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        link.under_way.clear();
        link.taken_bytes = 0;
        let state = self.state.read();
        let claimed = state.safe().get(origin).copied().unwrap_or_default();
        link.chaser.rewind(state.tail_position(origin), claimed);
        drop(state);
        let after = link.chaser.taken();
        link.phase = Phase::Streaming { call, heard: now, spoken: now };
        self.links.calls.insert(call, origin.clone());
        self.tail_message(origin, call, TailCall::Open { after, credit: CREDIT_BYTES });
    }

    /// Ends the stream; it is opened again soon, behind what is applied then.
    fn close_link(&mut self, origin: &OriginShard) {
        let again_at = self.now.mono + RETRY_AFTER;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        let phase = std::mem::replace(&mut link.phase, Phase::Closed { again_at });
        let call = match phase {
            Phase::Streaming { call, .. } | Phase::Seeding(Seeding { call, .. }) => call,
            Phase::Closed { .. } => return,
        };
        self.links.calls.remove(&call);
        self.tail_message(origin, call, TailCall::Close);
    }

    pub(crate) fn links_lost(&mut self, peer: &Peer) {
        let Peer::Region(region) = peer else { return };
        let lost: Vec<OriginShard> = self.links.links.keys().filter(|o| o.region == *region).cloned().collect();
        for origin in lost {
            self.close_link(&origin);
        }
    }

    pub(crate) fn tail_answer(&mut self, call: u64, answer: TailAnswer) {
        let Some(origin) = self.links.calls.get(&call).cloned() else { return };
        match answer {
            TailAnswer::Records { deltas, at, closed, origin_shards } => {
                let mut records: Vec<(Record, SourcePosition)> = Vec::with_capacity(deltas.len() + 1);
                for delta in deltas {
                    // Later changes of this shard have larger stamps, so each delta closes its own.
                    let closed = delta.committed_at;
                    records.push((Record::Delta { delta, closed }, SourcePosition::Direct));
                }
                records.push((Record::Close { at, closed }, SourcePosition::Direct));
                self.take_records(&origin, records, origin_shards);
            }
            TailAnswer::Gone => self.begin_seed(&origin),
            TailAnswer::Unavailable => self.close_link(&origin),
            TailAnswer::Seed(page) => self.seed_page(&origin, page),
        }
    }

    pub(crate) fn broker_records(
        &mut self,
        origin: &OriginShard,
        records: Vec<(Record, SourcePosition)>,
        origin_shards: u16,
    ) {
        let broker = self.links.links.get(origin).is_some_and(|link| link.broker);
        if broker && self.is_leading() {
            self.take_records(origin, records, origin_shards);
        }
    }

    fn take_records(&mut self, origin: &OriginShard, records: Vec<(Record, SourcePosition)>, origin_shards: u16) {
        self.learn_origin_shards(&origin.region, origin_shards);
        let now = self.now.mono;
        let sabotage = self.settings.sabotage;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        if let Phase::Streaming { heard, .. } = &mut link.phase {
            *heard = now;
        }
        link.origin_shards = link.origin_shards.max(origin_shards);
        let mut hole = false;
        for (record, source) in records {
            let bytes = size_of(&record);
            let is_delta = matches!(record, Record::Delta { .. });
            if sabotage == Some(Sabotage::AcceptGap) {
                link.chaser.skip_to(&record);
            }
            match link.chaser.take(record) {
                Taken::Accepted => link.taken_bytes += bytes,
                // A promise that says nothing new is no duplicate.
                Taken::Duplicate => self.counters.duplicates_dropped += u64::from(is_delta),
                Taken::Gap { .. } | Taken::NewEpoch { .. } => {
                    hole = true;
                    break;
                }
            }
            link.source = source;
        }
        if hole {
            self.counters.gaps_healed += 1;
            self.close_link(origin);
        }
        self.propose_batches(origin);
    }

    fn learn_origin_shards(&mut self, region: &RegionName, origin_shards: u16) {
        let broker = self.settings.links.iter().any(|link| link.source == *region && link.kafka);
        for shard in ShardNumber::all(origin_shards) {
            self.open_link(OriginShard { region: region.clone(), shard }, origin_shards, broker);
        }
    }

    fn propose_batches(&mut self, origin: &OriginShard) {
        let table = self.state.read().table().clone();
        let own = self.me().shard;
        let newest_allowed = Hlc::at(self.now.wall).0.saturating_add(millis(self.settings.max_drift) << 16);
        let disk_full = self.disk_full;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        if matches!(link.phase, Phase::Seeding(_)) {
            return;
        }
        while link.under_way.len() < BATCHES_UNDER_WAY && !disk_full {
            // A stamp from too far in the future would take this shard's own clock with it: the link stands still.
            if link.chaser.next_stamp().is_some_and(|stamp| stamp.0 > newest_allowed) {
                return;
            }
            let Some(mut batch) = link.chaser.batch(BATCH_DELTAS) else { return };
            if self.settings.sabotage == Some(Sabotage::AcceptGap) {
                // The lie that the shard's own check believes.
                batch.from = Seq(1);
            }
            let end = Position { epoch: batch.epoch, seq: batch.to };
            let entry = Entry::RemoteBatch(batch_entry(origin, batch, link.origin_shards, link.source, |point| {
                table.shard_of(point) == own
            }));
            if self.raft.propose(entry.encode()).is_err() {
                return self.close_link(origin);
            }
            let bytes = std::mem::take(&mut link.taken_bytes);
            link.under_way.push((end, bytes));
        }
    }

    /// A batch of another region was applied or refused.
    pub(crate) fn batch_applied(&mut self, origin: &OriginShard, outcome: &Outcome) {
        match outcome {
            Outcome::Merged(merged) => {
                self.counters.ops_merged += merged.advanced;
                self.counters.duplicates_dropped += merged.duplicates;
                let Some(link) = self.links.links.get_mut(origin) else { return };
                link.chaser.applied(merged.position);
                let mut credit = 0;
                link.under_way.retain(|(end, bytes)| {
                    let done = *end <= merged.position;
                    credit += if done { *bytes } else { 0 };
                    !done
                });
                if credit > 0 {
                    self.give_credit(origin, credit);
                }
                self.propose_batches(origin);
            }
            // Begun by an earlier leader, and nobody goes on with it.
            Outcome::SeedRunning { .. } => {
                let seeds = |link: &Link| matches!(link.phase, Phase::Seeding(_));
                if !self.links.links.get(origin).is_some_and(seeds) {
                    self.begin_seed(origin);
                }
            }
            _ => {
                self.counters.gaps_healed += 1;
                self.close_link(origin);
            }
        }
    }

    /// The log of the origin no longer reaches back to where this shard is.
    fn begin_seed(&mut self, origin: &OriginShard) {
        self.close_link(origin);
        self.counters.reseeds += 1;
        let asked = self.now.mono;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        link.phase =
            Phase::Seeding(Seeding { call: 0, asked, at: None, closed: Hlc::ZERO, after: None, proposed: None });
        self.ask_for_page(origin);
    }

    fn ask_for_page(&mut self, origin: &OriginShard) {
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

    fn seed_page(&mut self, origin: &OriginShard, page: SeedPage) {
        let (table, own) = (self.state.read().table().clone(), self.me().shard);
        let now = self.now.mono;
        let Some(Link { phase: Phase::Seeding(seeding), .. }) = self.links.links.get_mut(origin) else { return };
        if seeding.proposed.is_some() {
            return;
        }
        let first = seeding.at.is_none();
        if first {
            seeding.at = Some(page.at);
            seeding.closed = page.closed;
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
                    let (closed, origin_shards) = (seeding.closed, proposed.origin_shards);
                    self.propose_seed(origin, SeedStep::Commit { position: at, closed, origin_shards });
                }
            }
            Outcome::Seeded { .. } => self.close_link(origin),
            _ => self.begin_seed(origin),
        }
    }

    pub(crate) fn links_in_flight(&self) -> Vec<(OriginShard, u64)> {
        self.links.links.iter().map(|(origin, link)| (origin.clone(), link.chaser.in_flight())).collect()
    }
}

/// The entry of a batch: deltas of points that other shards own are left out, their sequences are counted.
fn batch_entry(
    origin: &OriginShard,
    batch: Batch,
    origin_shards: u16,
    source: SourcePosition,
    own: impl Fn(PointId) -> bool,
) -> RemoteBatch {
    let mut deltas = batch.deltas;
    deltas.retain(|delta| match &delta.op {
        meridian_model::Op::Upsert { point, .. } | meridian_model::Op::Delete { point, .. } => own(*point),
        _ => true,
    });
    let Batch { epoch, from, to, closed, .. } = batch;
    RemoteBatch { origin: origin.clone(), epoch, from, to, deltas, closed, origin_shards, source }
}

fn seed_point(origin: &OriginShard, point: meridian_wire::frame::SeedPoint) -> SeedPoint {
    let Position { epoch, seq } = point.position;
    let stamp = Stamp { hlc: point.committed_at, origin: origin.clone(), epoch, seq };
    let meridian_wire::frame::SeedPoint { collection, point, vectors, payload, .. } = point;
    SeedPoint { collection, point, vectors, payload, stamp }
}

fn size_of(record: &Record) -> u64 {
    match record {
        Record::Delta { delta, .. } => crate::tails::size_of(delta),
        Record::Close { .. } => 0,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 17)
}
