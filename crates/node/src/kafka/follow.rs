//! Reading one origin shard's partition from a given offset on, while there is credit.

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

use super::client::{ANSWER_WITHIN, Ear, RETRY_FIRST, RETRY_MOST, reader};
use super::newest::header;
use super::{Status, convert, topic};
use crate::shell::Handle;

/// How long one look at the broker or at the orders lasts.
const LOOK: Duration = Duration::from_millis(50);
/// Records handed over at once.
const BATCH: usize = 256;
/// Looks without an answer after which the broker is asked whether it is there.
const SILENT_LOOKS: u32 = 100;

/// What the machine wants. That nobody can want anything any more is the end.
pub(super) enum Order {
    /// So many bytes more.
    Credit(u64),
}

/// Reads one origin shard.
pub(super) struct Follower {
    call: u64,
    source: Topic,
    origin: OriginShard,
    /// The last record handed over.
    after: SourcePosition,
    credit: u64,
    handle: Handle,
}

/// Nobody wants records any more.
struct Ended;

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

    /// Reads until nobody gives orders any more; what fails is begun again behind the last record handed over.
    pub(super) fn run(mut self, orders: &Receiver<Order>, status: &Status) {
        let mut wait = RETRY_FIRST;
        loop {
            let before = self.after;
            let fault = match self.read(orders, status) {
                Ok(Ended) => break,
                Err(fault) => format!("{fault:#}"),
            };
            if self.after != before {
                wait = RETRY_FIRST;
            }
            status.set_following(&self.origin, Some(fault));
            match orders.recv_timeout(wait) {
                Ok(Order::Credit(bytes)) => self.credit = self.credit.saturating_add(bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            wait = (wait * 2).min(RETRY_MOST);
        }
        status.set_following(&self.origin, None);
    }

    fn read(&mut self, orders: &Receiver<Order>, status: &Status) -> anyhow::Result<Ended> {
        let Topic { bootstrap_servers, name: topic } = &self.source.clone();
        let partition = self.origin.shard.partition();
        let partitions = topic::partitions(&self.source)?.unwrap_or(0);
        if usize::from(self.origin.shard.number()) > partitions {
            bail!("topic {topic} has no partition {partition} at {bootstrap_servers}");
        }
        let consumer = reader(bootstrap_servers)?;
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN).context("ask for offsets")?;
        let start = self.start(low, high);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(start))?;
        consumer.assign(&list)?;
        let mut silent = 0;
        loop {
            match orders.try_recv() {
                Ok(Order::Credit(bytes)) => {
                    self.credit = self.credit.saturating_add(bytes);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(Ended),
                Err(TryRecvError::Empty) => {}
            }
            if self.credit == 0 {
                match orders.recv_timeout(LOOK) {
                    Ok(Order::Credit(bytes)) => self.credit = bytes,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(Ended),
                }
                continue;
            }
            match consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    self.hand_over(&consumer, message, partitions)?;
                    status.set_following(&self.origin, None);
                    silent = 0;
                }
                // All that there is was read.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    status.set_following(&self.origin, None);
                    silent = 0;
                }
                Some(Err(fault)) => return Err(fault).context("read"),
                None => silent += 1,
            }
            if silent >= SILENT_LOOKS {
                silent = 0;
                // A broker that is gone says nothing by itself, and a topic that was made anew looks silent.
                let (_, high) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN).with_context(|| {
                    let heard = consumer.context().heard().unwrap_or_default();
                    format!("broker {bootstrap_servers} does not answer: {heard}")
                })?;
                if next(self.after).is_some_and(|offset| offset > high) {
                    bail!("partition {partition} of topic {topic} ends at offset {high}, before what was read of it");
                }
            }
        }
    }

    /// The offset to begin at. One that is gone, or not there yet, shows in the sequences of what is read instead.
    fn start(&self, low: i64, high: i64) -> i64 {
        match next(self.after) {
            Some(offset) if (low..=high).contains(&offset) => offset,
            Some(offset) => {
                let topic = &self.source.name;
                tracing::warn!(origin = %self.origin, topic, offset, low, high, "offset is gone; read from the oldest");
                low
            }
            None => low,
        }
    }

    fn hand_over(
        &mut self,
        consumer: &BaseConsumer<Ear>,
        first: BorrowedMessage<'_>,
        partitions: usize,
    ) -> anyhow::Result<()> {
        let mut records: Vec<(Record, SourcePosition)> = Vec::new();
        let (mut shards, mut taken, mut next) = (0, 1, Some(first));
        while let Some(message) = next.take() {
            let at = SourcePosition::Kafka { partition: message.partition(), offset: message.offset() };
            let value = message.payload().unwrap_or_default();
            match convert::to_take(&self.origin, partitions, at, |name| header(&message, name), value) {
                Ok((record, of)) => {
                    self.credit = self.credit.saturating_sub(record_bytes(&record));
                    shards = of;
                    records.push((record, at));
                }
                Err(poison) => {
                    self.send(&mut records, shards);
                    self.handle.must(Event::Poison { call: self.call, poison });
                }
            }
            self.after = at;
            if taken < BATCH && self.credit > 0 {
                taken += 1;
                next = match consumer.poll(Duration::ZERO) {
                    Some(Ok(message)) => Some(message),
                    Some(Err(KafkaError::PartitionEOF(_))) | None => None,
                    Some(Err(fault)) => {
                        self.send(&mut records, shards);
                        return Err(fault).context("read");
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
            self.handle.must(Event::Records { call: self.call, records, origin_shards });
        }
    }
}

fn next(after: SourcePosition) -> Option<i64> {
    match after {
        SourcePosition::Kafka { offset, .. } => Some(offset + 1),
        SourcePosition::Direct => None,
    }
}
