//! Publishing this shard's delta log while this replica leads it.
//!
//! Where it goes on stands in the partition itself, so nothing else is remembered: a new leader begins behind the newest record
//! that it finds there. A former leader that does not know yet repeats what stands in the same log, which readers drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use meridian_model::{OriginShard, Position, Topic};
use meridian_proto::frame::{RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_proto::record::{Body, RECORD_BYTES, Record};
use meridian_replica::{Event, record_bytes};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::client::{Ear, RETRY_FIRST, RETRY_MOST, writer};
use super::{PUBLISHER, Status, convert, newest, topic};
use crate::shell::Handle;

/// Bytes of deltas that may be on their way to the broker.
const CREDIT_BYTES: u64 = 4 << 20;
/// Statements that may be on their way; the next says more than one that is left out.
const STATEMENTS_UNDER_WAY: usize = 32;
/// How long one look at the orders lasts while the broker has something to confirm.
const LOOK: Duration = Duration::from_millis(5);
/// And while it has not.
const LOOK_IDLE: Duration = Duration::from_millis(100);
/// The machine forgets a reader that says nothing for 10 s.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Without a confirmation for this long the broker counts as gone, and is said to be.
const UNCONFIRMED: Duration = Duration::from_secs(3);
/// Before a tail that could not be served is asked for again.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

/// Refusals after which the log is asked how far it goes: what the topic holds may claim more than it ever said.
const REFUSALS: u32 = 20;

/// What the engine thread says.
pub(super) enum Order {
    /// This replica leads its shard, or does not any more.
    Leads(bool),
    /// An answer of the tail.
    Tail(u64, TailAnswer),
}

/// Publishes one shard's log.
pub(super) struct Publisher {
    sink: Topic,
    own: OriginShard,
    shards: u16,
    handle: Handle,
    status: Arc<Status>,
    call: u64,
}

/// Why publishing ended.
enum End {
    /// This replica does not lead any more.
    Deposed,
    /// It was elected again: others may have published since.
    Elected,
    /// So does the process.
    Over,
}

impl Publisher {
    pub(super) fn new(sink: Topic, own: OriginShard, shards: u16, handle: Handle, status: Arc<Status>) -> Self {
        Self { sink, own, shards, handle, status, call: 0 }
    }

    /// Publishes whenever this replica leads, until the process ends.
    pub(super) fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            if let Order::Leads(true) = order {
                loop {
                    match self.lead(orders) {
                        End::Elected => {}
                        End::Deposed => break,
                        End::Over => return,
                    }
                }
                self.status.set_publishing(None);
                self.status.set_published(None);
            }
        }
    }

    /// One leadership: sessions, each begun anew after a fault.
    fn lead(&mut self, orders: &Receiver<Order>) -> End {
        let mut wait = RETRY_FIRST;
        loop {
            let began = Instant::now();
            let ended = self.session(orders);
            self.tail(TailCall::Close);
            let fault = match ended {
                Ok(end) => return end,
                Err(fault) => format!("{fault:#}"),
            };
            if began.elapsed() > RETRY_MOST * 10 {
                wait = RETRY_FIRST;
            }
            self.status.set_publishing(Some(fault));
            let until = Instant::now() + wait;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match orders.recv_timeout(left) {
                    Ok(Order::Leads(true)) => return End::Elected,
                    Ok(Order::Leads(false)) => return End::Deposed,
                    Ok(Order::Tail(..)) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return End::Over,
                }
            }
            wait = (wait * 2).min(RETRY_MOST);
        }
    }

    fn tail(&self, call: TailCall) {
        let message = RegionMessage::Call(self.call, RegionCall::Tail(self.own.shard, call));
        self.handle.must(Event::Region(PUBLISHER, message));
    }

    fn open(&mut self, after: Position) {
        self.tail(TailCall::Close);
        self.call += 1;
        self.tail(TailCall::Open { after, credit: CREDIT_BYTES });
    }

    fn session(&mut self, orders: &Receiver<Order>) -> anyhow::Result<End> {
        topic::ensure_ready(&self.sink, self.shards)?;
        // What the topic claims is told when the log has answered from there on: the record may be none of ours.
        let mut claimed = newest::published(&self.sink, &self.own, None)?;
        let mut is_told = false;
        let producer: BaseProducer<Delivery> =
            writer(&self.sink.bootstrap_servers).create_with_context(Delivery::default())?;
        tracing::info!(topic = self.sink.name, after = ?claimed, "publishing deltas to Kafka");
        self.status.set_publishing(None);
        // Nothing of ours yet: from the first delta.
        let mut sent = claimed.unwrap_or_default();
        self.open(sent);
        let mut spoken = Instant::now();
        let mut reopen: Option<Instant> = None;
        let (mut refusals, mut gone) = (0, false);
        loop {
            producer.poll(Duration::ZERO);
            let delivery = producer.context();
            if let Some(fault) = delivery.lost.lock().take() {
                bail!("{fault}");
            }
            if let Some((code, reason)) = producer.client().fatal_error() {
                bail!("{code}: {reason}");
            }
            let bytes = delivery.bytes.swap(0, Ordering::Relaxed);
            if bytes > 0 || spoken.elapsed() >= KEEP_ALIVE {
                spoken = Instant::now();
                self.tail(TailCall::Credit(bytes));
            }
            let under_way = producer.in_flight_count() > 0;
            self.watch(delivery, under_way);
            if reopen.is_some_and(|at| at <= Instant::now()) {
                reopen = None;
                self.open(sent);
            }
            let (call, answer) = match orders.recv_timeout(if under_way { LOOK } else { LOOK_IDLE }) {
                Ok(Order::Leads(true)) => return Ok(End::Elected),
                Ok(Order::Leads(false)) => return Ok(End::Deposed),
                Err(RecvTimeoutError::Disconnected) => return Ok(End::Over),
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(Order::Tail(call, answer)) => (call, answer),
            };
            if call != self.call {
                continue;
            }
            match answer {
                TailAnswer::Records { deltas, at, complete, origin_shards } => {
                    if !std::mem::replace(&mut is_told, true) {
                        self.status.set_published(claimed);
                    }
                    let records = match convert::to_publish(&self.own, &deltas, complete, origin_shards) {
                        Ok(records) => records,
                        Err(fault) => {
                            // Another replica serves it in a later form; this one publishes again when it is upgraded.
                            tracing::error!(after = %sent, %fault, "a delta of the log cannot be published");
                            reopen = Some(Instant::now() + KEEP_ALIVE);
                            continue;
                        }
                    };
                    for record in records {
                        self.publish(&producer, &record)?;
                    }
                    (sent, refusals) = (at, 0);
                }
                TailAnswer::Unavailable => {
                    refusals += 1;
                    if refusals % REFUSALS == 0 {
                        self.tail_seed();
                    }
                    reopen = Some(Instant::now() + if refusals % REFUSALS == 0 { KEEP_ALIVE } else { REOPEN_AFTER });
                }
                // A page of a seed begins with where the log stands; nothing else of it is used.
                TailAnswer::Gone => {
                    gone = true;
                    self.tail_seed();
                }
                TailAnswer::Seed(page) => {
                    let (after, newest) = (sent.seq, page.at.seq);
                    if page.at < sent {
                        tracing::error!(claimed = %after, %newest, "the topic holds records of this shard that it never said");
                        claimed = newest::published(&self.sink, &self.own, Some(page.at))?;
                        sent = claimed.unwrap_or_default();
                    } else if gone {
                        tracing::error!(
                            %after, to = %newest,
                            "the log does not reach back to what is published: the topic lacks these deltas, readers ask for them directly"
                        );
                        sent = page.at;
                    }
                    (gone, reopen) = (false, None);
                    self.open(sent);
                }
            }
        }
    }

    fn tail_seed(&mut self) {
        self.call += 1;
        self.tail(TailCall::Seed { at: None, after: None });
    }

    /// Says so when the broker does not confirm.
    fn watch(&self, delivery: &Delivery, under_way: bool) {
        let mut since = delivery.since.lock();
        let confirmed = delivery.newest.lock().take();
        if !under_way || confirmed.is_some() {
            *since = None;
        }
        if let Some(position) = confirmed {
            self.status.set_published(Some(position));
            self.status.set_publishing(None);
        }
        if under_way && since.get_or_insert_with(Instant::now).elapsed() >= UNCONFIRMED {
            let heard = delivery.ear.heard().unwrap_or_else(|| "no answer".into());
            if self.status.publishing().is_none() {
                let broker = &self.sink.bootstrap_servers;
                self.status.set_publishing(Some(format!("broker {broker} confirms nothing: {heard}")));
            }
        }
    }

    fn publish(&self, producer: &BaseProducer<Delivery>, record: &Record) -> anyhow::Result<()> {
        let delivery = producer.context();
        let position = record.position();
        let bytes = match &record.body {
            Body::Delta(delta) => record_bytes(&meridian_replica::Record::Delta(delta.clone())),
            Body::Complete(_) if delivery.statements.load(Ordering::Relaxed) >= STATEMENTS_UNDER_WAY => return Ok(()),
            Body::Complete(_) => {
                delivery.statements.fetch_add(1, Ordering::Relaxed);
                0
            }
        };
        let encoded = record.encode();
        let length =
            encoded.value.len() + encoded.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if length + RECORD_OVERHEAD > RECORD_BYTES {
            tracing::error!(seq = %position.seq, length, "a delta is too long for the topic; readers ask for it directly");
            delivery.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        let headers = (encoded.headers.iter())
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut send =
            BaseRecord::<(), [u8], Box<Sent>>::with_opaque_to(&self.sink.name, Box::new(Sent { bytes, position }))
                .partition(self.own.shard.partition())
                .headers(headers)
                .payload(&encoded.value);
        loop {
            match producer.send(send) {
                Ok(()) => return Ok(()),
                // Credit bounds what waits here, so this ends as soon as the broker takes something.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    send = back;
                    producer.poll(LOOK);
                    if let Some((code, reason)) = producer.client().fatal_error() {
                        bail!("{code}: {reason}");
                    }
                }
                Err((fault, _)) => return Err(fault).context("publish"),
            }
        }
    }
}

/// Bytes of a batch and of a record's lengths, beside its headers and its value.
const RECORD_OVERHEAD: usize = 256;

/// What is on its way.
struct Sent {
    bytes: u64,
    position: Position,
}

/// What the broker confirmed, and what it did not.
#[derive(Default)]
struct Delivery {
    ear: Ear,
    /// To be given back as credit.
    bytes: AtomicU64,
    statements: AtomicUsize,
    newest: Mutex<Option<Position>>,
    /// Something waits since then, and nothing was confirmed.
    since: Mutex<Option<Instant>>,
    /// A record was given up: what follows it must not be sent.
    lost: Mutex<Option<String>>,
}

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ear.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        if sent.bytes == 0 {
            self.statements.fetch_sub(1, Ordering::Relaxed);
        }
        match result {
            Ok(_) => {
                self.bytes.fetch_add(sent.bytes, Ordering::Relaxed);
                *self.newest.lock() = Some(sent.position);
            }
            Err((fault, _)) => *self.lost.lock() = Some(format!("sequence {}: {fault}", sent.position.seq)),
        }
    }
}
