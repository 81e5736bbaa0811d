//! A simulated Kafka broker between the regions, in seeds that have one: one append-only partition per shard of the
//! primary region, with retention. Publishers and followers stand in for the node's Kafka threads and make no decisions
//! of the machine.

use std::collections::{BTreeMap, VecDeque};

use meridian_model::{
    CollectionUid, Delta, Epoch, Hlc, Op, OriginShard, Payload, PointId, Position, Seq, ShardNumber, Vectors, WriteId,
    WriteRef,
};
use meridian_proto::frame::{RegionAnswer, RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_replica::{Event, Peer, Poison, Record, record_bytes};
use meridian_shard::SourcePosition;

use crate::clock::{MILLI, Micros, SECOND};
use crate::fault::BrokerFault;
use crate::world::{SimEvent, World};

/// Peer number of a publisher as a tail reader.
const PUBLISHER: Peer = Peer::Connection(u64::MAX);
/// Limit of unconfirmed bytes.
const CREDIT_BYTES: u64 = 16 << 10;
/// Records per event to a machine.
const BATCH: usize = 64;
/// Interval between two polls of a publisher.
const PUBLISH_INTERVAL: Micros = 100 * MILLI;

/// Content of an offset.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "most offsets hold a record")]
enum Stored {
    Record(Record, u16),
    /// A record that cannot be decoded.
    Malformed,
}

/// One partition.
#[derive(Default)]
struct Partition {
    /// Offset of the oldest record.
    low: i64,
    records: VecDeque<Stored>,
    newest: Position,
}

impl Broker {
    pub fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }
}

impl Partition {
    /// Newest position among the remaining records.
    fn published_position(&self) -> Position {
        let positions = self.records.iter().filter_map(|stored| match stored {
            Stored::Record(record, _) if !self.is_forged(record) => Some(record.position()),
            Stored::Record(..) | Stored::Malformed => None,
        });
        positions.max().unwrap_or_default()
    }

    /// Whether the record is forged: no published record is newer than `newest`.
    fn is_forged(&self, record: &Record) -> bool {
        record.position() > self.newest
    }
}

/// A publishing replica.
struct Publisher {
    /// The open tail call; `None` before it has read the partition.
    call: Option<u64>,
    leads: bool,
    /// Arrival of its last batch.
    arrives_at: Micros,
    session: u64,
}

/// An origin shard followed by a replica.
struct Follower {
    incarnation: u64,
    origin: OriginShard,
    offset: i64,
    credit: u64,
}

/// The broker and its clients.
#[derive(Default)]
pub struct Broker {
    /// Whether the seed uses a broker.
    pub enabled: bool,
    down: bool,
    partitions: BTreeMap<ShardNumber, Partition>,
    publishers: BTreeMap<usize, Publisher>,
    followers: BTreeMap<(usize, u64), Follower>,
    calls: u64,
}

/// Scheduled events of the broker.
pub enum BrokerEvent {
    /// A publisher polls.
    Publish { pod: usize, incarnation: u64, session: u64 },
    /// A published batch arrives.
    Append { pod: usize, incarnation: u64, session: u64, records: Vec<(Record, u16)> },
    /// A follower polls.
    Read { pod: usize, call: u64 },
}

impl BrokerEvent {
    /// The pod whose pause delays the event.
    pub fn pod(&self) -> Option<usize> {
        match self {
            Self::Publish { pod, .. } | Self::Read { pod, .. } => Some(*pod),
            // Already sent: independent of the pod.
            Self::Append { .. } => None,
        }
    }
}

impl World {
    pub fn handle_broker_event(&mut self, what: BrokerEvent) {
        match what {
            BrokerEvent::Publish { pod, incarnation, session } => self.publish(pod, incarnation, session),
            BrokerEvent::Append { pod, incarnation, session, records } => {
                self.append(pod, incarnation, session, records)
            }
            BrokerEvent::Read { pod, call } => self.read_broker(pod, call),
        }
    }

    /// A machine gained or lost leadership.
    pub fn broker_leads(&mut self, pod: usize, leads: bool) {
        if !self.broker.enabled || self.pods[pod].region != self.primary {
            return;
        }
        self.broker.calls += 1;
        let (incarnation, session) = (self.pods[pod].incarnation, self.broker.calls);
        let arrives_at = self.now;
        self.broker.publishers.insert(pod, Publisher { call: None, leads, arrives_at, session });
        if leads {
            let at = self.now + self.rng.between(MILLI, 30 * MILLI);
            self.queue.push(at, SimEvent::Broker(BrokerEvent::Publish { pod, incarnation, session }));
        }
    }

    fn publisher(&mut self, pod: usize, incarnation: u64, session: u64) -> Option<&mut Publisher> {
        let same = self.pods[pod].incarnation == incarnation;
        self.broker.publishers.get_mut(&pod).filter(|held| same && held.session == session && held.leads)
    }

    fn call_tail(&mut self, pod: usize, call: u64, body: TailCall) {
        let (incarnation, shard) = (self.pods[pod].incarnation, self.pods[pod].shard);
        let event = Event::Region(PUBLISHER, RegionMessage::Call(call, RegionCall::Tail(shard, body)));
        self.queue.push(self.now + 50, SimEvent::Deliver { pod, incarnation, event });
    }

    fn publish(&mut self, pod: usize, incarnation: u64, session: u64) {
        let down = self.broker.down;
        let Some(publisher) = self.publisher(pod, incarnation, session) else { return };
        let open = publisher.call;
        self.queue
            .push(self.now + PUBLISH_INTERVAL, SimEvent::Broker(BrokerEvent::Publish { pod, incarnation, session }));
        match open {
            Some(call) => self.call_tail(pod, call, TailCall::Credit(0)),
            None if down => {}
            None => {
                let shard = self.pods[pod].shard;
                let after = self.broker.partitions.entry(shard).or_default().published_position();
                self.open_tail(pod, after);
            }
        }
    }

    fn open_tail(&mut self, pod: usize, after: Position) {
        self.broker.calls += 1;
        let call = self.broker.calls;
        if let Some(publisher) = self.broker.publishers.get_mut(&pod) {
            publisher.call = Some(call);
        }
        self.call_tail(pod, call, TailCall::Open { after, credit: CREDIT_BYTES });
    }

    /// Handles a tail answer to a publisher; returns false when the message is for another peer.
    pub fn publisher_receives(&mut self, pod: usize, to: &Peer, message: &RegionMessage) -> bool {
        let (true, RegionMessage::Answer(call, RegionAnswer::Tail(answer))) = (*to == PUBLISHER, message) else {
            return false;
        };
        let incarnation = self.pods[pod].incarnation;
        let (shard, delay) = (self.pods[pod].shard, self.rng.between(MILLI, 8 * MILLI));
        let now = self.now;
        let Some(publisher) = self.broker.publishers.get_mut(&pod) else { return true };
        if publisher.call != Some(*call) || !publisher.leads {
            return true;
        }
        match answer {
            TailAnswer::Records { deltas, complete, origin_shards, .. } => {
                let mark = complete.map(|complete| Record::Mark { at: complete.through, complete: Some(complete) });
                let deltas =
                    deltas.iter().map(|delta| delta.decode().map(Record::Delta)).collect::<Result<Vec<_>, _>>();
                let deltas = match deltas {
                    Ok(deltas) => deltas,
                    Err(fault) => {
                        self.violation(format!("a publisher cannot decode a delta: {fault}"));
                        return true;
                    }
                };
                let records: Vec<(Record, u16)> =
                    (deltas.into_iter().chain(mark)).map(|record| (record, *origin_shards)).collect();
                if records.is_empty() {
                    return true;
                }
                publisher.arrives_at = publisher.arrives_at.max(now + delay) + 1;
                let (arrives_at, session) = (publisher.arrives_at, publisher.session);
                self.queue
                    .push(arrives_at, SimEvent::Broker(BrokerEvent::Append { pod, incarnation, session, records }));
            }
            TailAnswer::Unavailable => publisher.call = None,
            TailAnswer::Gone => {
                self.broker.calls += 1;
                let call = self.broker.calls;
                if let Some(publisher) = self.broker.publishers.get_mut(&pod) {
                    publisher.call = Some(call);
                }
                self.call_tail(pod, call, TailCall::Seed { at: None, after: None });
            }
            TailAnswer::Seed(page) => {
                self.counts.publishing_skipped += 1;
                let at = page.at;
                self.broker.partitions.entry(shard).or_default().newest = at;
                self.open_tail(pod, at);
            }
        }
        true
    }

    /// Appends a batch, even if its sender died or lost leadership meanwhile (a zombie producer).
    fn append(&mut self, pod: usize, incarnation: u64, session: u64, records: Vec<(Record, u16)>) {
        if self.broker.down {
            let retry_at = self.now + 20 * MILLI;
            let Some(publisher) = self.publisher(pod, incarnation, session) else { return };
            publisher.arrives_at = publisher.arrives_at.max(retry_at);
            return self
                .queue
                .push(retry_at, SimEvent::Broker(BrokerEvent::Append { pod, incarnation, session, records }));
        }
        let partition = self.broker.partitions.entry(self.pods[pod].shard).or_default();
        // A producer keeps its order: batches delayed by an outage come first.
        let first = records.first().map(|(record, _)| record);
        let is_ahead = matches!(first, Some(Record::Delta(delta)) if delta.seq > partition.newest.seq.next());
        if is_ahead && self.publisher(pod, incarnation, session).is_some() {
            return self
                .queue
                .push(self.now + MILLI, SimEvent::Broker(BrokerEvent::Append { pod, incarnation, session, records }));
        }
        let partition = self.broker.partitions.entry(self.pods[pod].shard).or_default();
        let mut bytes = 0;
        for (record, shards) in records {
            bytes += record_bytes(&record);
            let at = record.position();
            let delta = matches!(record, Record::Delta(_));
            self.counts.published_again += u64::from(delta && at <= partition.newest);
            partition.newest = partition.newest.max(at);
            partition.records.push_back(Stored::Record(record, shards));
        }
        if let Some(call) = self.publisher(pod, incarnation, session).and_then(|publisher| publisher.call) {
            self.call_tail(pod, call, TailCall::Credit(bytes));
        }
    }

    /// A machine follows an origin shard.
    pub fn broker_follow(&mut self, pod: usize, call: u64, origin: OriginShard, after: SourcePosition, credit: u64) {
        let offset = match after {
            SourcePosition::Kafka { offset, .. } => offset + 1,
            SourcePosition::Direct => 0,
        };
        let incarnation = self.pods[pod].incarnation;
        self.broker.followers.insert((pod, call), Follower { incarnation, origin, offset, credit });
        let at = self.now + self.rng.between(MILLI, 20 * MILLI);
        self.queue.push(at, SimEvent::Broker(BrokerEvent::Read { pod, call }));
    }

    pub fn broker_credit(&mut self, pod: usize, call: u64, bytes: u64) {
        if let Some(follower) = self.broker.followers.get_mut(&(pod, call)) {
            follower.credit = follower.credit.saturating_add(bytes);
        }
    }

    pub fn broker_unfollow(&mut self, pod: usize, call: u64) {
        self.broker.followers.remove(&(pod, call));
    }

    fn read_broker(&mut self, pod: usize, call: u64) {
        let incarnation = self.pods[pod].incarnation;
        let Some(follower) = self.broker.followers.get_mut(&(pod, call)) else { return };
        if follower.incarnation != incarnation {
            return drop(self.broker.followers.remove(&(pod, call)));
        }
        let next = self.now + self.rng.between(2 * MILLI, 15 * MILLI);
        self.queue.push(next, SimEvent::Broker(BrokerEvent::Read { pod, call }));
        let Some(partition) = self.broker.partitions.get(&follower.origin.shard).filter(|_| !self.broker.down) else {
            return;
        };
        let high = partition.low + i64::try_from(partition.records.len()).unwrap_or(i64::MAX);
        if !(partition.low..=high).contains(&follower.offset) {
            follower.offset = partition.low;
            self.counts.offsets_gone += 1;
        }
        let (mut events, mut records, mut shards) = (Vec::new(), Vec::new(), 0);
        let number = follower.origin.shard.partition();
        while follower.offset < high && records.len() < BATCH && follower.credit > 0 {
            let at = SourcePosition::Kafka { partition: number, offset: follower.offset };
            let stored = &partition.records[usize::try_from(follower.offset - partition.low).unwrap_or_default()];
            follower.offset += 1;
            match stored {
                Stored::Record(record, of) => {
                    follower.credit = follower.credit.saturating_sub(record_bytes(record));
                    shards = *of;
                    records.push((record.clone(), at));
                }
                Stored::Malformed => {
                    let before = std::mem::take(&mut records);
                    if !before.is_empty() {
                        events.push(Event::Records { call, records: before, origin_shards: shards });
                    }
                    let poison = Poison { at, seq: None, fault: "junk".into() };
                    events.push(Event::Poison { call, poison });
                }
            }
        }
        if !records.is_empty() {
            events.push(Event::Records { call, records, origin_shards: shards });
        }
        for event in events {
            self.queue.push(self.now + 100, SimEvent::Deliver { pod, incarnation, event });
        }
    }

    /// Starts a broker fault; returns its duration, or `None` when it is not possible.
    pub fn break_broker(&mut self, fault: BrokerFault) -> Option<Micros> {
        let shards: Vec<ShardNumber> = self.broker.partitions.keys().copied().collect();
        let shard = *self.rng.pick(&shards)?;
        let region = self.regions[self.primary].clone();
        let origin_shards = self.shards[self.primary];
        let random = self.rng.next();
        let partition = self.broker.partitions.get_mut(&shard)?;
        match fault {
            BrokerFault::Outage => {
                self.broker.down = true;
                self.counts.broker_outages += 1;
                let duration = self.rng.between(100, 3000) * MILLI;
                self.queue.push(self.now + duration, SimEvent::EndFault(crate::faults::FaultEnd::Broker));
                return Some(duration);
            }
            BrokerFault::Retention => {
                let most = partition.records.len();
                let taken =
                    if random.is_multiple_of(3) { most } else { usize::try_from(random).unwrap_or(0) % (most + 1) };
                drop(partition.records.drain(..taken));
                partition.low += i64::try_from(taken).ok()?;
            }
            BrokerFault::MalformedRecord => partition.records.push_back(Stored::Malformed),
            BrokerFault::ForgedRecord => {
                let Position { epoch, seq } = partition.newest;
                let epoch = epoch.max(Epoch(1));
                let (collection, point) = (CollectionUid(1), PointId::Num(1));
                // A position far ahead, a later epoch, or the next position with an invalid payload.
                let (epoch, seq, op) = match random % 3 {
                    0 => (epoch, Seq(seq.0 + 100_000), Op::Delete { collection, point }),
                    1 => (Epoch(epoch.0 + 7), Seq(3), Op::Delete { collection, point }),
                    _ => {
                        let (vectors, payload) = (Vectors::new(), Payload("no object".into()));
                        (epoch, seq.next(), Op::Upsert { collection, point, vectors, payload })
                    }
                };
                let (origin, write) = (OriginShard { region, shard }, WriteRef { id: WriteId(0), index: 0 });
                let delta = Delta { origin, epoch, seq, committed_at: Hlc(1), op, write, trace: None };
                let record = Record::Delta(delta);
                partition.records.push_back(Stored::Record(record, origin_shards));
            }
        }
        Some(SECOND)
    }

    pub fn heal_broker(&mut self) {
        self.broker.down = false;
    }
}
