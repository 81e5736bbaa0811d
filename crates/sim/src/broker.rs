//! A broker between the regions, in the seeds that have one: a partition for each shard of the primary region, to which records
//! are only ever appended, and from whose front they are taken away. Publisher and reader stand in for the shell's threads: they
//! decide nothing that the machine decides.

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
use crate::world::{What, World};

/// Under which a publisher reads the tail of its own machine.
const PUBLISHER: Peer = Peer::Connection(u64::MAX);
/// Bytes that may be on their way to the broker.
const CREDIT_BYTES: u64 = 16 << 10;
/// Records handed to a machine at once.
const BATCH: usize = 64;
/// Between two looks of a publisher.
const TURN: Micros = 100 * MILLI;

/// What stands at an offset.
#[derive(Clone)]
enum Stored {
    Record(Record, u16),
    /// Somebody else's, that no reader understands.
    Junk,
}

/// One partition.
#[derive(Default)]
struct Partition {
    /// Offset of the first record that is still there.
    low: i64,
    records: VecDeque<Stored>,
    newest: Position,
}

impl Broker {
    pub fn new(used: bool) -> Self {
        Self { used, ..Self::default() }
    }
}

impl Partition {
    /// The newest position among what is still there.
    fn read_back(&self) -> Position {
        let positions = self.records.iter().filter_map(|stored| match stored {
            Stored::Record(record, _) if !self.is_forged(record) => Some(record.position()),
            Stored::Record(..) | Stored::Junk => None,
        });
        positions.max().unwrap_or_default()
    }

    /// Whether somebody else wrote it: nothing of ours is newer than the newest.
    fn is_forged(&self, record: &Record) -> bool {
        record.position() > self.newest
    }
}

/// One replica that publishes.
struct Publisher {
    /// The call that its tail is read by; none before it has looked into the partition.
    call: Option<u64>,
    leads: bool,
    /// When what it sent last arrives.
    arrives: Micros,
    session: u64,
}

/// One origin shard that a replica reads.
struct Follower {
    life: u64,
    origin: OriginShard,
    offset: i64,
    credit: u64,
}

/// The broker, and who is connected to it.
#[derive(Default)]
pub struct Broker {
    /// Whether the seed has one.
    pub used: bool,
    down: bool,
    partitions: BTreeMap<ShardNumber, Partition>,
    publishers: BTreeMap<usize, Publisher>,
    followers: BTreeMap<(usize, u64), Follower>,
    calls: u64,
}

/// Something that is to happen at the broker.
pub enum AtBroker {
    /// A publisher looks around.
    Publish { pod: usize, life: u64, session: u64 },
    /// What a publisher sent arrives.
    Append { pod: usize, life: u64, session: u64, records: Vec<(Record, u16)> },
    /// A reader looks around.
    Read { pod: usize, call: u64 },
}

impl AtBroker {
    /// The pod whose pause it has to wait for.
    pub fn pod(&self) -> Option<usize> {
        match self {
            Self::Publish { pod, .. } | Self::Read { pod, .. } => Some(*pod),
            // It has left the pod.
            Self::Append { .. } => None,
        }
    }
}

impl World {
    pub fn at_broker(&mut self, what: AtBroker) {
        match what {
            AtBroker::Publish { pod, life, session } => self.publish(pod, life, session),
            AtBroker::Append { pod, life, session, records } => self.append(pod, life, session, records),
            AtBroker::Read { pod, call } => self.read_broker(pod, call),
        }
    }

    /// A machine says that it leads, or does not any more.
    pub fn broker_leads(&mut self, pod: usize, leads: bool) {
        if !self.broker.used || self.pods[pod].region != self.primary {
            return;
        }
        self.broker.calls += 1;
        let (life, session) = (self.pods[pod].life, self.broker.calls);
        let arrives = self.now;
        self.broker.publishers.insert(pod, Publisher { call: None, leads, arrives, session });
        if leads {
            let at = self.now + self.rng.between(MILLI, 30 * MILLI);
            self.queue.push(at, What::Broker(AtBroker::Publish { pod, life, session }));
        }
    }

    fn publisher(&mut self, pod: usize, life: u64, session: u64) -> Option<&mut Publisher> {
        let same = self.pods[pod].life == life;
        self.broker.publishers.get_mut(&pod).filter(|held| same && held.session == session && held.leads)
    }

    fn tell_tail(&mut self, pod: usize, call: u64, body: TailCall) {
        let (life, shard) = (self.pods[pod].life, self.pods[pod].shard);
        let event = Event::Region(PUBLISHER, RegionMessage::Call(call, RegionCall::Tail(shard, body)));
        self.queue.push(self.now + 50, What::Hand { pod, life, event });
    }

    fn publish(&mut self, pod: usize, life: u64, session: u64) {
        let down = self.broker.down;
        let Some(publisher) = self.publisher(pod, life, session) else { return };
        let open = publisher.call;
        self.queue.push(self.now + TURN, What::Broker(AtBroker::Publish { pod, life, session }));
        match open {
            Some(call) => self.tell_tail(pod, call, TailCall::Credit(0)),
            None if down => {}
            None => {
                let shard = self.pods[pod].shard;
                let after = self.broker.partitions.entry(shard).or_default().read_back();
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
        self.tell_tail(pod, call, TailCall::Open { after, credit: CREDIT_BYTES });
    }

    /// What the machine of a publisher answers; false when it is for somebody else.
    pub fn broker_hears(&mut self, pod: usize, to: &Peer, message: &RegionMessage) -> bool {
        let (true, RegionMessage::Answer(call, RegionAnswer::Tail(answer))) = (*to == PUBLISHER, message) else {
            return false;
        };
        let life = self.pods[pod].life;
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
                publisher.arrives = publisher.arrives.max(now + delay) + 1;
                let (arrives, session) = (publisher.arrives, publisher.session);
                self.queue.push(arrives, What::Broker(AtBroker::Append { pod, life, session, records }));
            }
            TailAnswer::Unavailable => publisher.call = None,
            TailAnswer::Gone => {
                self.broker.calls += 1;
                let call = self.broker.calls;
                if let Some(publisher) = self.broker.publishers.get_mut(&pod) {
                    publisher.call = Some(call);
                }
                self.tell_tail(pod, call, TailCall::Seed { at: None, after: None });
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

    /// Arrives whether or not who sent it is still alive, or still leads: then it is what a zombie sends.
    fn append(&mut self, pod: usize, life: u64, session: u64, records: Vec<(Record, u16)>) {
        if self.broker.down {
            let again = self.now + 20 * MILLI;
            let Some(publisher) = self.publisher(pod, life, session) else { return };
            publisher.arrives = publisher.arrives.max(again);
            return self.queue.push(again, What::Broker(AtBroker::Append { pod, life, session, records }));
        }
        let partition = self.broker.partitions.entry(self.pods[pod].shard).or_default();
        // A producer keeps its order: what was held back while the broker was down goes first.
        let first = records.first().map(|(record, _)| record);
        let early = matches!(first, Some(Record::Delta(delta)) if delta.seq > partition.newest.seq.next());
        if early && self.publisher(pod, life, session).is_some() {
            return self.queue.push(self.now + MILLI, What::Broker(AtBroker::Append { pod, life, session, records }));
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
        if let Some(call) = self.publisher(pod, life, session).and_then(|publisher| publisher.call) {
            self.tell_tail(pod, call, TailCall::Credit(bytes));
        }
    }

    /// A machine wants to read.
    pub fn broker_follow(&mut self, pod: usize, call: u64, origin: OriginShard, after: SourcePosition, credit: u64) {
        let offset = match after {
            SourcePosition::Kafka { offset, .. } => offset + 1,
            SourcePosition::Direct => 0,
        };
        let life = self.pods[pod].life;
        self.broker.followers.insert((pod, call), Follower { life, origin, offset, credit });
        let at = self.now + self.rng.between(MILLI, 20 * MILLI);
        self.queue.push(at, What::Broker(AtBroker::Read { pod, call }));
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
        let life = self.pods[pod].life;
        let Some(follower) = self.broker.followers.get_mut(&(pod, call)) else { return };
        if follower.life != life {
            return drop(self.broker.followers.remove(&(pod, call)));
        }
        let next = self.now + self.rng.between(2 * MILLI, 15 * MILLI);
        self.queue.push(next, What::Broker(AtBroker::Read { pod, call }));
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
                Stored::Junk => {
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
            self.queue.push(self.now + 100, What::Hand { pod, life, event });
        }
    }

    /// Something goes wrong at the broker; how long it lasts, or nothing if it could not be done.
    pub fn break_broker(&mut self, fault: BrokerFault) -> Option<Micros> {
        let shards: Vec<ShardNumber> = self.broker.partitions.keys().copied().collect();
        let shard = *self.rng.pick(&shards)?;
        let region = self.regions[self.primary].clone();
        let origin_shards = self.shards[self.primary];
        let chance = self.rng.next();
        let partition = self.broker.partitions.get_mut(&shard)?;
        match fault {
            BrokerFault::Outage => {
                self.broker.down = true;
                self.counts.broker_outages += 1;
                let lasting = self.rng.between(100, 3000) * MILLI;
                self.queue.push(self.now + lasting, What::Heal(crate::faults::Healing::Broker));
                return Some(lasting);
            }
            BrokerFault::Retention => {
                let most = partition.records.len();
                let taken =
                    if chance.is_multiple_of(3) { most } else { usize::try_from(chance).unwrap_or(0) % (most + 1) };
                drop(partition.records.drain(..taken));
                partition.low += i64::try_from(taken).ok()?;
            }
            BrokerFault::MalformedRecord => partition.records.push_back(Stored::Junk),
            BrokerFault::ForgedRecord => {
                let Position { epoch, seq } = partition.newest;
                let epoch = epoch.max(Epoch(1));
                let (collection, point) = (CollectionUid(1), PointId::Num(1));
                // Far ahead, of another life of the log, or the next one with a payload that no door lets through.
                let (epoch, seq, op) = match chance % 3 {
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
