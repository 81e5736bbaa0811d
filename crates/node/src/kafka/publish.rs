//! Publishes this shard's delta log while this replica is its leader.
//!
//! The partition itself stores the resume position: a new leader continues behind its newest record there. A former
//! leader that does not know of its successor repeats records of the same log, which consumers deduplicate.

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

use super::client::{ErrorListener, INITIAL_BACKOFF, MAX_BACKOFF, producer_config};
use super::{PUBLISHER, Status, convert, published_position, topic};
use crate::shell::Handle;

/// Limit of unconfirmed delta bytes.
const CREDIT_BYTES: u64 = 4 << 20;
/// Limit of unconfirmed statements; a skipped one is superseded by the next.
const MAX_STATEMENTS_IN_FLIGHT: usize = 32;
/// Timeout of one poll of the command channel while records are unconfirmed.
const POLL_TIMEOUT: Duration = Duration::from_millis(5);
/// Timeout otherwise.
const POLL_TIMEOUT_IDLE: Duration = Duration::from_millis(100);
/// Interval of keep-alive calls; the machine drops a tail reader after 10 s of silence.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Time without a confirmation after which the broker is reported as unresponsive.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Delay before an unavailable tail is reopened.
const REOPEN_DELAY: Duration = Duration::from_millis(100);

/// Refusals after which the end of the log is requested: the topic may contain positions that the log never reached.
const REFUSALS_BEFORE_SEED: u32 = 20;

/// Commands from the engine thread.
pub(super) enum PublisherCommand {
    /// Whether this replica is the leader of its shard.
    Leads(bool),
    /// An answer of the log tail.
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

/// Why a session ended.
enum SessionEnd {
    /// This replica lost leadership.
    Deposed,
    /// This replica was elected again; another leader may have published meanwhile.
    Reelected,
    /// The process exits.
    Shutdown,
}

impl Publisher {
    pub(super) fn new(sink: Topic, own: OriginShard, shards: u16, handle: Handle, status: Arc<Status>) -> Self {
        Self { sink, own, shards, handle, status, call: 0 }
    }

    /// Publishes whenever this replica is the leader, until the process exits.
    pub(super) fn run(&mut self, commands: &Receiver<PublisherCommand>) {
        while let Ok(command) = commands.recv() {
            if let PublisherCommand::Leads(true) = command {
                loop {
                    match self.lead(commands) {
                        SessionEnd::Reelected => {}
                        SessionEnd::Deposed => break,
                        SessionEnd::Shutdown => return,
                    }
                }
                self.status.set_publish_error(None);
                self.status.set_published(None);
            }
        }
    }

    /// One leadership: sessions, restarted after errors.
    fn lead(&mut self, commands: &Receiver<PublisherCommand>) -> SessionEnd {
        let mut backoff = INITIAL_BACKOFF;
        loop {
            let start = Instant::now();
            let result = self.session(commands);
            self.call_tail(TailCall::Close);
            let error = match result {
                Ok(end) => return end,
                Err(error) => format!("{error:#}"),
            };
            if start.elapsed() > MAX_BACKOFF * 10 {
                backoff = INITIAL_BACKOFF;
            }
            self.status.set_publish_error(Some(error));
            let deadline = Instant::now() + backoff;
            while let Some(remaining) = deadline.checked_duration_since(Instant::now()) {
                match commands.recv_timeout(remaining) {
                    Ok(PublisherCommand::Leads(true)) => return SessionEnd::Reelected,
                    Ok(PublisherCommand::Leads(false)) => return SessionEnd::Deposed,
                    Ok(PublisherCommand::Tail(..)) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return SessionEnd::Shutdown,
                }
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn call_tail(&self, call: TailCall) {
        let message = RegionMessage::Call(self.call, RegionCall::Tail(self.own.shard, call));
        self.handle.send_blocking(Event::Region(PUBLISHER, message));
    }

    fn open_tail(&mut self, after: Position) {
        self.call_tail(TailCall::Close);
        self.call += 1;
        self.call_tail(TailCall::Open { after, credit: CREDIT_BYTES });
    }

    fn session(&mut self, commands: &Receiver<PublisherCommand>) -> anyhow::Result<SessionEnd> {
        topic::ensure_ready(&self.sink, self.shards)?;
        // The position in the topic is reported only after the log has confirmed it: the record may be forged.
        let mut claimed = published_position::published_position(&self.sink, &self.own, None)?;
        let mut is_reported = false;
        let producer: BaseProducer<Delivery> =
            producer_config(&self.sink.bootstrap_servers).create_with_context(Delivery::default())?;
        tracing::info!(topic = self.sink.name, after = ?claimed, "publishing deltas to Kafka");
        self.status.set_publish_error(None);
        // An empty partition starts at the first delta.
        let mut sent = claimed.unwrap_or_default();
        self.open_tail(sent);
        let mut last_call = Instant::now();
        let mut reopen: Option<Instant> = None;
        let (mut refusals, mut is_log_truncated) = (0, false);
        loop {
            producer.poll(Duration::ZERO);
            let delivery = producer.context();
            if let Some(error) = delivery.lost.lock().take() {
                bail!("{error}");
            }
            if let Some((code, reason)) = producer.client().fatal_error() {
                bail!("{code}: {reason}");
            }
            let bytes = delivery.bytes.swap(0, Ordering::Relaxed);
            if bytes > 0 || last_call.elapsed() >= KEEPALIVE_INTERVAL {
                last_call = Instant::now();
                self.call_tail(TailCall::Credit(bytes));
            }
            let is_in_flight = producer.in_flight_count() > 0;
            self.report_stalls(delivery, is_in_flight);
            if reopen.is_some_and(|at| at <= Instant::now()) {
                reopen = None;
                self.open_tail(sent);
            }
            let (call, answer) =
                match commands.recv_timeout(if is_in_flight { POLL_TIMEOUT } else { POLL_TIMEOUT_IDLE }) {
                    Ok(PublisherCommand::Leads(true)) => return Ok(SessionEnd::Reelected),
                    Ok(PublisherCommand::Leads(false)) => return Ok(SessionEnd::Deposed),
                    Err(RecvTimeoutError::Disconnected) => return Ok(SessionEnd::Shutdown),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Ok(PublisherCommand::Tail(call, answer)) => (call, answer),
                };
            if call != self.call {
                continue;
            }
            match answer {
                TailAnswer::Records { deltas, at, complete, origin_shards } => {
                    if !std::mem::replace(&mut is_reported, true) {
                        self.status.set_published(claimed);
                    }
                    let records = match convert::to_publish(&self.own, &deltas, complete, origin_shards) {
                        Ok(records) => records,
                        Err(error) => {
                            // Another replica serves it in a later form; this one publishes again when it is upgraded.
                            tracing::error!(after = %sent, %error, "a delta of the log cannot be published");
                            reopen = Some(Instant::now() + KEEPALIVE_INTERVAL);
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
                    if refusals % REFUSALS_BEFORE_SEED == 0 {
                        self.request_seed();
                    }
                    reopen = Some(
                        Instant::now()
                            + if refusals % REFUSALS_BEFORE_SEED == 0 { KEEPALIVE_INTERVAL } else { REOPEN_DELAY },
                    );
                }
                // A seed page carries the end of the log; its other content is unused.
                TailAnswer::Gone => {
                    is_log_truncated = true;
                    self.request_seed();
                }
                TailAnswer::Seed(page) => {
                    let (after, newest) = (sent.seq, page.at.seq);
                    if page.at < sent {
                        tracing::error!(claimed = %after, %newest, "the topic contains records of this shard beyond the end of its log");
                        claimed = published_position::published_position(&self.sink, &self.own, Some(page.at))?;
                        sent = claimed.unwrap_or_default();
                    } else if is_log_truncated {
                        tracing::error!(
                            %after, to = %newest,
                            "the log no longer contains the next delta to publish: the topic lacks these deltas, consumers fetch them directly"
                        );
                        sent = page.at;
                    }
                    (is_log_truncated, reopen) = (false, None);
                    self.open_tail(sent);
                }
            }
        }
    }

    fn request_seed(&mut self) {
        self.call += 1;
        self.call_tail(TailCall::Seed { at: None, after: None });
    }

    /// Updates the published position, and reports a broker that does not confirm.
    fn report_stalls(&self, delivery: &Delivery, is_in_flight: bool) {
        let mut since = delivery.since.lock();
        let confirmed = delivery.newest.lock().take();
        if !is_in_flight || confirmed.is_some() {
            *since = None;
        }
        if let Some(position) = confirmed {
            self.status.set_published(Some(position));
            self.status.set_publish_error(None);
        }
        if is_in_flight && since.get_or_insert_with(Instant::now).elapsed() >= DELIVERY_TIMEOUT {
            let last_error = delivery.errors.take_last().unwrap_or_else(|| "no response".into());
            if self.status.publish_error().is_none() {
                let broker = &self.sink.bootstrap_servers;
                self.status.set_publish_error(Some(format!("broker {broker} confirms nothing: {last_error}")));
            }
        }
    }

    fn publish(&self, producer: &BaseProducer<Delivery>, record: &Record) -> anyhow::Result<()> {
        let delivery = producer.context();
        let position = record.position();
        let bytes = match &record.body {
            Body::Delta(delta) => record_bytes(&meridian_replica::Record::Delta(delta.clone())),
            Body::Complete(_) if delivery.statements.load(Ordering::Relaxed) >= MAX_STATEMENTS_IN_FLIGHT => {
                return Ok(());
            }
            Body::Complete(_) => {
                delivery.statements.fetch_add(1, Ordering::Relaxed);
                0
            }
        };
        let encoded = record.encode();
        let length =
            encoded.value.len() + encoded.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if length + RECORD_OVERHEAD > RECORD_BYTES {
            tracing::error!(seq = %position.seq, length, "a delta exceeds the topic's record size; consumers fetch it directly");
            delivery.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        let headers = (encoded.headers.iter())
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut send = BaseRecord::<(), [u8], Box<InFlight>>::with_opaque_to(
            &self.sink.name,
            Box::new(InFlight { bytes, position }),
        )
        .partition(self.own.shard.partition())
        .headers(headers)
        .payload(&encoded.value);
        loop {
            match producer.send(send) {
                Ok(()) => return Ok(()),
                // Credit bounds the queue, so this ends when the broker accepts a record.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    send = returned;
                    producer.poll(POLL_TIMEOUT);
                    if let Some((code, reason)) = producer.client().fatal_error() {
                        bail!("{code}: {reason}");
                    }
                }
                Err((error, _)) => return Err(error).context("publish"),
            }
        }
    }
}

/// Bytes of record and batch framing, besides headers and value.
const RECORD_OVERHEAD: usize = 256;

/// An unconfirmed record.
struct InFlight {
    bytes: u64,
    position: Position,
}

/// Delivery reports of the broker.
#[derive(Default)]
struct Delivery {
    errors: ErrorListener,
    /// Confirmed bytes, returned as credit.
    bytes: AtomicU64,
    statements: AtomicUsize,
    newest: Mutex<Option<Position>>,
    /// Time since which records are unconfirmed without any confirmation.
    since: Mutex<Option<Instant>>,
    /// A record that failed for good; later records must not be sent.
    lost: Mutex<Option<String>>,
}

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.errors.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.error(error, reason);
    }
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<InFlight>) {
        if sent.bytes == 0 {
            self.statements.fetch_sub(1, Ordering::Relaxed);
        }
        match result {
            Ok(_) => {
                self.bytes.fetch_add(sent.bytes, Ordering::Relaxed);
                *self.newest.lock() = Some(sent.position);
            }
            Err((error, _)) => *self.lost.lock() = Some(format!("sequence {}: {error}", sent.position.seq)),
        }
    }
}
