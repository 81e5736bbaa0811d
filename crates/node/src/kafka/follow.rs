//! Reads one origin shard's partition from a given offset on, while the machine grants credit.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use meridian_model::{OriginShard, Topic};
use meridian_replica::{Event, Record, record_bytes};
use meridian_shard::SourcePosition;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{BROKER_TIMEOUT, ErrorListener, INITIAL_BACKOFF, MAX_BACKOFF, create_consumer};
use super::published_position::header;
use super::{Status, convert, topic};
use crate::shell::Handle;

/// Timeout of one poll of the broker or of the command channel.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// Records per event to the machine.
const BATCH: usize = 256;
/// Polls without a message after which the broker is probed.
const SILENT_POLLS_BEFORE_PROBE: u32 = 100;

/// Commands from the engine thread. A closed channel means unfollow.
pub(super) enum FollowerCommand {
    /// Grants more bytes.
    Credit(u64),
}

/// Follows one origin shard.
pub(super) struct Follower {
    call: u64,
    source: Topic,
    origin: OriginShard,
    /// The last delivered record.
    after: SourcePosition,
    credit: u64,
    handle: Handle,
}

/// The follower was cancelled.
struct Cancelled;

impl Follower {
    pub(super) fn new(
        call: u64,
        source: Topic,
        origin: OriginShard,
        after: SourcePosition,
        credit: u64,
        handle: Handle,
    ) -> Self {
        Self { call, source, origin, after, credit, handle }
    }

    /// Reads until the command channel closes; after an error it resumes behind the last delivered record.
    pub(super) fn run(mut self, commands: &Receiver<FollowerCommand>, status: &Status) {
        let mut backoff = INITIAL_BACKOFF;
        loop {
            let before = self.after;
            let error = match self.read(commands, status) {
                Ok(Cancelled) => break,
                Err(error) => format!("{error:#}"),
            };
            if self.after != before {
                backoff = INITIAL_BACKOFF;
            }
            status.set_follow_error(&self.origin, Some(error));
            match commands.recv_timeout(backoff) {
                Ok(FollowerCommand::Credit(bytes)) => self.credit = self.credit.saturating_add(bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        status.set_follow_error(&self.origin, None);
    }

    fn read(&mut self, commands: &Receiver<FollowerCommand>, status: &Status) -> anyhow::Result<Cancelled> {
        let Topic { bootstrap_servers, name: topic } = &self.source.clone();
        let partition = self.origin.shard.partition();
        let partitions = topic::partition_count(&self.source)?.unwrap_or(0);
        if usize::from(self.origin.shard.number()) > partitions {
            bail!("topic {topic} has no partition {partition} at {bootstrap_servers}");
        }
        let consumer = create_consumer(bootstrap_servers)?;
        let (low, high) = consumer.fetch_watermarks(topic, partition, BROKER_TIMEOUT).context("fetch offsets")?;
        let start = self.start_offset(low, high);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(start))?;
        consumer.assign(&list)?;
        let mut silent_polls = 0;
        loop {
            match commands.try_recv() {
                Ok(FollowerCommand::Credit(bytes)) => {
                    self.credit = self.credit.saturating_add(bytes);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(Cancelled),
                Err(TryRecvError::Empty) => {}
            }
            if self.credit == 0 {
                match commands.recv_timeout(POLL_TIMEOUT) {
                    Ok(FollowerCommand::Credit(bytes)) => self.credit = bytes,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(Cancelled),
                }
                continue;
            }
            match consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) => {
                    self.deliver_batch(&consumer, message, partitions)?;
                    status.set_follow_error(&self.origin, None);
                    silent_polls = 0;
                }
                // The end of the partition is reached.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    status.set_follow_error(&self.origin, None);
                    silent_polls = 0;
                }
                Some(Err(error)) => return Err(error).context("read"),
                None => silent_polls += 1,
            }
            if silent_polls >= SILENT_POLLS_BEFORE_PROBE {
                silent_polls = 0;
                // A dead broker reports nothing by itself, and a recreated topic looks silent.
                let (_, high) = consumer.fetch_watermarks(topic, partition, BROKER_TIMEOUT).with_context(|| {
                    let last_error = consumer.context().take_last().unwrap_or_default();
                    format!("broker {bootstrap_servers} does not answer: {last_error}")
                })?;
                if next_offset(self.after).is_some_and(|offset| offset > high) {
                    bail!("partition {partition} of topic {topic} ends at offset {high}, before the last read record");
                }
            }
        }
    }

    /// The offset to start at. An expired offset shows as a gap in the sequences instead.
    fn start_offset(&self, low: i64, high: i64) -> i64 {
        match next_offset(self.after) {
            Some(offset) if (low..=high).contains(&offset) => offset,
            Some(offset) => {
                let topic = &self.source.name;
                tracing::warn!(origin = %self.origin, topic, offset, low, high, "offset expired; reading from the oldest");
                low
            }
            None => low,
        }
    }

    fn deliver_batch(
        &mut self,
        consumer: &BaseConsumer<ErrorListener>,
        first: BorrowedMessage<'_>,
        partitions: usize,
    ) -> anyhow::Result<()> {
        let mut records: Vec<(Record, SourcePosition)> = Vec::new();
        let (mut shards, mut count, mut next) = (0, 1, Some(first));
        while let Some(message) = next.take() {
            let at = SourcePosition::Kafka { partition: message.partition(), offset: message.offset() };
            let value = message.payload().unwrap_or_default();
            match convert::to_received(&self.origin, partitions, at, |name| header(&message, name), value) {
                Ok((record, origin_shards)) => {
                    self.credit = self.credit.saturating_sub(record_bytes(&record));
                    shards = origin_shards;
                    records.push((record, at));
                }
                Err(poison) => {
                    self.send(&mut records, shards);
                    self.handle.send_blocking(Event::Poison { call: self.call, poison });
                }
            }
            self.after = at;
            if count < BATCH && self.credit > 0 {
                count += 1;
                next = match consumer.poll(Duration::ZERO) {
                    Some(Ok(message)) => Some(message),
                    Some(Err(KafkaError::PartitionEOF(_))) | None => None,
                    Some(Err(error)) => {
                        self.send(&mut records, shards);
                        return Err(error).context("read");
                    }
                };
            }
        }
        self.send(&mut records, shards);
        Ok(())
    }

    fn send(&self, records: &mut Vec<(Record, SourcePosition)>, origin_shards: u16) {
        let records = std::mem::take(records);
        if !records.is_empty() {
            self.handle.send_blocking(Event::Records { call: self.call, records, origin_shards });
        }
    }
}

fn next_offset(after: SourcePosition) -> Option<i64> {
    match after {
        SourcePosition::Kafka { offset, .. } => Some(offset + 1),
        SourcePosition::Direct => None,
    }
}
