//! Following other regions: the leader of each shard chases every shard of each source region, and proposes what it gets.
//!
//! ```text
//!   closed ──open──► streaming ──records──► LogFollower ──Batch──► RemoteBatch proposed ──applied──► credit
//!      ▲               │ gap, silence, lost, refused: open again behind what is applied
//!      │               ▼ gone at every replica
//!      └──────────── seeding: page ──► Seed{Begin, Chunk, Commit} proposed ──applied──► next page
//! ```
//! Records come from the origin itself, or through the shell from a broker; what a broker cannot give (`broker`) comes from
//! the origin too.

mod broker;
mod seeding;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meridian_model::{Delta, OriginShard, PointId, Position, RegionName, Seq, ShardNumber, Topic};
use meridian_proto::delta_bytes::{DeltaBytes, DeltaError};
use meridian_proto::frame::{RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_proto::topology::PoisonSeen;
use meridian_shard::{Entry, Outcome, RemoteBatch, SourcePosition};
use meridian_tail::{Batch, LogFollower, ReceiveOutcome, Record};

use self::broker::Detour;
use self::seeding::Seeding;
use crate::injection::InjectedBug;
use crate::{Command, LinkStatus, Peer, Poison, Replica};

/// Bytes of records that may be under way to one chaser.
const CREDIT_BYTES: u64 = 8 << 20;
/// Deltas in one log entry.
const BATCH_DELTAS: usize = 256;
/// Batches proposed and not applied; what comes meanwhile waits, and so does the credit for it.
const BATCHES_UNDER_WAY: usize = 4;
/// A source that says every 250 ms at least where its log stands, and is silent for this long, is asked anew.
const SILENCE: Duration = Duration::from_secs(1);
/// While a broker brings nothing but statements, how far it is read is logged this often: a new leader reads on from there.
const NOTE_SOURCE_AFTER: Duration = Duration::from_secs(60);
/// A reader tells its server this often that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Before a failed open or seed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Before the origin is asked again for a delta that it sent and that cannot be taken.
const POISON_RETRY_AFTER: Duration = Duration::from_secs(1);

/// For so long the operator hears of a record that could not be taken: what it hid is read elsewhere by then.
const POISON_TOLD_FOR: Duration = Duration::from_secs(600);

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
    follower: LogFollower,
    phase: Phase,
    origin_shards: u16,
    /// Source position behind what stands in batches.
    source: SourcePosition,
    /// Source positions behind what is taken in and not in a batch yet.
    sources: VecDeque<(Position, SourcePosition)>,
    /// Ends of the batches proposed and not applied, with the bytes they give back.
    under_way: Vec<(Position, u64)>,
    /// Bytes taken in and not in a batch yet.
    taken_bytes: u64,
    /// The records come from here, through the shell; none when they come from the origin.
    topic: Option<Topic>,
    /// Where a gap was met last, while reading from a broker.
    gap: Option<Seq>,
    /// The origin itself is read, because the broker lacks something.
    detour: Option<Detour>,
    /// The newest record that could not be taken, and when it was met.
    poison: Option<(Duration, Poison)>,
    /// When anything of the log was heard last, on whatever stream: opening one anew is no sign of life.
    heard: Option<Duration>,
    /// When a batch was proposed last: it notes how far the source is read.
    noted: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Opened at this time.
    Closed { again_at: Duration },
    /// Under this number; something was heard at this time.
    Streaming { call: u64, heard: Duration, spoken: Duration, path: Path },
    /// Reading pages.
    Seeding(Seeding),
}

/// Where a stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// The origin.
    Direct,
    /// A broker, through the shell.
    Broker,
}

impl Replica {
    /// A leader begins to chase: from what the state has, whoever led before.
    pub(crate) fn start_links(&mut self) {
        self.stop_links();
        let links = self.state.links().to_vec();
        for link in links.into_iter().filter(|link| !link.paused) {
            let known = self.state.origin_shards(&link.source).unwrap_or(1);
            for shard in ShardNumber::all(known) {
                self.open_link(OriginShard { region: link.source.clone(), shard }, known, link.topic());
            }
        }
    }

    pub(crate) fn stop_links(&mut self) {
        for origin in self.links.links.keys().cloned().collect::<Vec<_>>() {
            self.close_link(&origin);
        }
        self.links.links.clear();
    }

    fn open_link(&mut self, origin: OriginShard, origin_shards: u16, topic: Option<&Topic>) {
        if self.links.links.contains_key(&origin) {
            return;
        }
        let state = &self.state;
        let follower = LogFollower::new(origin.clone(), state.tail_position(&origin));
        let link = Link {
            follower,
            phase: Phase::Closed { again_at: self.now.mono },
            origin_shards,
            source: SourcePosition::Direct,
            sources: VecDeque::new(),
            under_way: Vec::new(),
            taken_bytes: 0,
            topic: topic.cloned(),
            gap: None,
            detour: None,
            poison: None,
            heard: None,
            noted: self.now.mono,
        };
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
                Phase::Closed { again_at } if *again_at <= now => self.open_stream(&origin),
                // Only the origin itself repeats where its log stands while nothing changes.
                Phase::Streaming { heard, path: Path::Direct, .. } if stuck(*heard) => self.close_link(&origin),
                Phase::Streaming { spoken, path: Path::Direct, .. } if now.saturating_sub(*spoken) >= KEEP_ALIVE => {
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
        let Some(Link { phase: Phase::Streaming { call, spoken, path, .. }, .. }) = self.links.links.get_mut(origin)
        else {
            return;
        };
        *spoken = now;
        match (*call, *path) {
            (call, Path::Direct) => self.tail_message(origin, call, TailCall::Credit(bytes)),
            (call, Path::Broker) => self.out.push(Command::FollowCredit { call, bytes }),
        }
    }

    fn open_stream(&mut self, origin: &OriginShard) {
        let call = self.number();
        let now = self.now.mono;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        link.under_way.clear();
        link.sources.clear();
        link.taken_bytes = 0;
        let state = &self.state;
        let applied = state.tail_position(origin);
        link.follower.rewind(applied);
        if link.topic.is_some() {
            link.end_detour(applied, state.source_position(origin));
        }
        let topic = link.topic.clone().filter(|_| link.detour.is_none());
        let path = if topic.is_some() { Path::Broker } else { Path::Direct };
        let (after, credit) = (link.source, CREDIT_BYTES);
        link.phase = Phase::Streaming { call, heard: now, spoken: now, path };
        self.links.calls.insert(call, origin.clone());
        match topic {
            None => self.tail_message(origin, call, TailCall::Open { after: applied, credit }),
            Some(topic) => {
                self.out.push(Command::Follow { call, origin: origin.clone(), topic, after, credit });
            }
        }
    }

    /// Ends the stream; it is opened again soon, behind what is applied then.
    fn close_link(&mut self, origin: &OriginShard) {
        self.close_link_for(origin, RETRY_AFTER);
    }

    fn close_link_for(&mut self, origin: &OriginShard, wait: Duration) {
        let again_at = self.now.mono + wait;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        let phase = std::mem::replace(&mut link.phase, Phase::Closed { again_at });
        let (call, path) = match phase {
            Phase::Streaming { call, path, .. } => (call, path),
            Phase::Seeding(Seeding { call, .. }) => (call, Path::Direct),
            Phase::Closed { .. } => return,
        };
        self.links.calls.remove(&call);
        match path {
            Path::Direct => self.tail_message(origin, call, TailCall::Close),
            Path::Broker => self.out.push(Command::Unfollow { call }),
        }
    }

    pub(crate) fn links_lost(&mut self, peer: &Peer) {
        let Peer::Region(region) = peer else { return };
        let direct = |link: &Link| !matches!(link.phase, Phase::Streaming { path: Path::Broker, .. });
        let lost: Vec<OriginShard> = (self.links.links.iter())
            .filter(|(origin, link)| origin.region == *region && direct(link))
            .map(|(origin, _)| origin.clone())
            .collect();
        for origin in lost {
            self.close_link(&origin);
        }
    }

    pub(crate) fn tail_answer(&mut self, call: u64, answer: TailAnswer) {
        let Some(origin) = self.links.calls.get(&call).cloned() else { return };
        if !matches!(answer, TailAnswer::Unavailable)
            && let Some(link) = self.links.links.get_mut(&origin)
        {
            link.heard = Some(self.now.mono);
        }
        match answer {
            TailAnswer::Records { deltas, at, complete, origin_shards } => {
                let newest = deltas.is_empty();
                let (deltas, fault) = decode_up_to_fault(&deltas);
                // What stands behind a delta that cannot be decoded is not reached.
                let mark = fault.is_none().then_some(Record::Mark { at, complete });
                let records = deltas.into_iter().map(Record::Delta).chain(mark);
                let records = records.map(|record| (record, SourcePosition::Direct)).collect();
                self.take_records(&origin, records, origin_shards);
                if let Some(fault) = fault {
                    self.undecodable_delta(&origin, call, &fault);
                } else if newest {
                    self.origin_has_no_more(&origin, at);
                }
            }
            TailAnswer::Gone => self.begin_seed(&origin),
            TailAnswer::Unavailable => self.close_link(&origin),
            TailAnswer::Seed(page) => self.seed_page(&origin, page),
        }
    }

    /// The origin sent a delta that this build cannot decode, behind what was taken in: it stops this link and no
    /// other, and is asked for again later.
    fn undecodable_delta(&mut self, origin: &OriginShard, call: u64, fault: &DeltaError) {
        let Some(link) = self.links.links.get(origin) else { return };
        // Closed meanwhile because of a delta before it.
        if !matches!(link.phase, Phase::Streaming { call: open, .. } if open == call) {
            return;
        }
        let seq = Some(link.follower.received().seq.next());
        self.note_poison(origin, Poison { at: SourcePosition::Direct, seq, fault: fault.to_string() });
        self.close_link_for(origin, POISON_RETRY_AFTER);
    }

    fn take_records(&mut self, origin: &OriginShard, records: Vec<(Record, SourcePosition)>, origin_shards: u16) {
        self.learn_origin_shards(&origin.region, origin_shards);
        let now = self.now.mono;
        let Some(link) = self.links.links.get_mut(origin) else { return };
        link.heard = Some(now);
        let mut path = Path::Direct;
        if let Phase::Streaming { heard, path: from, .. } = &mut link.phase {
            *heard = now;
            path = *from;
        }
        link.origin_shards = link.origin_shards.max(origin_shards);
        let state = &self.state;
        let (mut hole, mut poison, mut unused, mut statements) = (None, None, 0, Vec::new());
        for (record, source) in records {
            let bytes = record_bytes(&record);
            self.settings.inject_into_follower(&mut link.follower, &record);
            let (delta, statement) = match &record {
                Record::Delta(delta) => (Some(delta), None),
                Record::Mark { complete, .. } => (None, *complete),
            };
            let (is_delta, before) = (delta.is_some(), record.predecessor());
            let new = |delta: &&Delta| delta.position() > link.follower.received();
            let fault = (delta.filter(new))
                .and_then(|delta| state.check_remote(std::slice::from_ref(delta)).err())
                .map(|(_, fault)| fault.to_string());
            if let Some(fault) = fault {
                unused += bytes;
                poison = Some(Poison { at: source, seq: Some(record.position().seq), fault });
                match path {
                    // What follows it shows the gap.
                    Path::Broker => continue,
                    Path::Direct => break,
                }
            }
            match link.follower.receive(record) {
                ReceiveOutcome::Accepted => {
                    link.taken_bytes += bytes;
                    statements.extend(statement);
                    if path == Path::Broker {
                        let taken = link.follower.received();
                        link.sources.pop_back_if(|(at, _)| *at == taken);
                        link.sources.push_back((taken, source));
                    }
                }
                ReceiveOutcome::Duplicate => {
                    unused += bytes;
                    // A mark that says nothing new is no duplicate.
                    self.counters.duplicates_dropped += u64::from(is_delta);
                }
                ReceiveOutcome::Gap { .. } | ReceiveOutcome::NewEpoch { .. } => {
                    hole = Some((before, source));
                    break;
                }
            }
        }
        for statement in statements {
            self.hear_statement(origin, statement, Duration::ZERO);
        }
        self.recheck_reads();
        if unused > 0 {
            self.give_credit(origin, unused);
        }
        let poisoned = poison.is_some();
        if let Some(poison) = poison {
            self.note_poison(origin, poison);
        }
        // What was taken in before must not wait for what is missing.
        self.propose_batches(origin);
        if let Some((before, source)) = hole {
            self.counters.gaps_healed += 1;
            self.close_link(origin);
            if path == Path::Broker {
                self.broker_gap(origin, before, source);
            }
        } else if poisoned && path == Path::Direct {
            self.close_link_for(origin, POISON_RETRY_AFTER);
        }
    }

    fn learn_origin_shards(&mut self, region: &RegionName, origin_shards: u16) {
        let state = &self.state;
        let topic = state.links().iter().find(|link| link.source == *region).and_then(|link| link.topic().cloned());
        for shard in ShardNumber::all(origin_shards) {
            self.open_link(OriginShard { region: region.clone(), shard }, origin_shards, topic.as_ref());
        }
    }

    fn propose_batches(&mut self, origin: &OriginShard) {
        let table = self.state.table().clone();
        let own = self.identity.node().shard;
        let (admits, now) = (self.admits_growth(), self.now.mono);
        let Some(link) = self.links.links.get_mut(origin) else { return };
        if matches!(link.phase, Phase::Seeding(_)) {
            return;
        }
        // Statements alone are not logged, so now and then it is noted that they were read.
        let is_read_on = link.sources.back().is_some_and(|(_, source)| *source != link.source);
        if is_read_on && link.under_way.is_empty() && now.saturating_sub(link.noted) >= NOTE_SOURCE_AFTER {
            link.follower.request_batch();
        }
        while link.under_way.len() < BATCHES_UNDER_WAY && admits {
            let Some(mut batch) = link.follower.next_batch(BATCH_DELTAS) else { return };
            if self.settings.injects(InjectedBug::AcceptGap) {
                // The lie that the shard's own check believes.
                batch.from = Seq(1);
            }
            let end = Position { epoch: batch.epoch, seq: batch.to };
            while let Some((_, source)) = link.sources.pop_front_if(|(at, _)| *at <= end) {
                link.source = source;
            }
            let entry = Entry::RemoteBatch(batch_entry(origin, batch, link.origin_shards, link.source, |point| {
                table.shard_of(point) == own
            }));
            if self.raft.propose(entry.encode()).is_err() {
                return self.close_link(origin);
            }
            link.noted = now;
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
                link.follower.applied(merged.position);
                let mut credit = 0;
                link.under_way.retain(|(end, bytes)| {
                    let done = *end <= merged.position;
                    credit += if done { *bytes } else { 0 };
                    !done
                });
                if credit > 0 {
                    self.give_credit(origin, credit);
                }
                if self.is_past_detour(origin) {
                    return self.close_link(origin);
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

    /// The newest record of each origin shard that could not be taken, unless that was long ago.
    pub(crate) fn poisons(&self) -> Vec<PoisonSeen> {
        let poison = |(origin, link): (&OriginShard, &Link)| {
            let (met, poison) = link.poison.as_ref()?;
            let fault = poison.describe(link.topic.as_ref());
            (self.now.mono.saturating_sub(*met) < POISON_TOLD_FOR).then(|| PoisonSeen { origin: origin.clone(), fault })
        };
        self.links.links.iter().filter_map(poison).collect()
    }

    pub(crate) fn link_statuses(&self) -> Vec<LinkStatus> {
        let status = |(origin, link): (&OriginShard, &Link)| LinkStatus {
            origin: origin.clone(),
            in_flight: link.follower.in_flight(),
            phase: match &link.phase {
                Phase::Closed { .. } => "closed",
                Phase::Streaming { path: Path::Direct, .. } => "streaming",
                Phase::Streaming { path: Path::Broker, .. } => "reading",
                Phase::Seeding(_) => "seeding",
            },
            silent: link.heard.map(|heard| self.now.mono.saturating_sub(heard)),
            detour: link.detour.is_some(),
            poison: link.poison.as_ref().map(|(_, poison)| poison.clone()),
        };
        self.links.links.iter().map(status).collect()
    }
}

/// The deltas in front of the first one that cannot be decoded, and why it cannot.
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

/// The entry of a batch: deltas that change nothing and those of points that other shards own are left out, their
/// sequences are counted.
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
        meridian_model::Op::Nothing => false,
        meridian_model::Op::CreateCollection { .. } | meridian_model::Op::DropCollection { .. } => true,
    });
    let Batch { epoch, from, to, .. } = batch;
    RemoteBatch { origin: origin.clone(), epoch, from, to, deltas, origin_shards, source }
}

/// What a record takes of the credit of [`Command::Follow`].
#[must_use]
pub fn record_bytes(record: &Record) -> u64 {
    match record {
        Record::Delta(delta) => crate::tails::size_of(delta),
        Record::Mark { .. } => 0,
    }
}
