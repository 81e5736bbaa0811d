//! The published position of this shard's log: that of its newest record in the partition.

use std::time::Instant;

use anyhow::Context as _;
use meridian_model::{OriginShard, Position, Topic};
use meridian_proto::record::Record;
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{BROKER_TIMEOUT, create_consumer};

/// Records read back at first; the window grows while it contains none of this origin.
const INITIAL_WINDOW: i64 = 64;
/// Growth factor of the window.
const WINDOW_GROWTH: i64 = 16;

/// Newest position of `origin` in its partition; `None` when there is none. Positions beyond `max` are ignored, as the
/// record may be forged.
pub(super) fn published_position(
    source: &Topic,
    origin: &OriginShard,
    max: Option<Position>,
) -> anyhow::Result<Option<Position>> {
    let consumer = create_consumer(&source.bootstrap_servers)?;
    let partition = origin.shard.partition();
    let (low, high) = consumer.fetch_watermarks(&source.name, partition, BROKER_TIMEOUT)?;
    let mut window = INITIAL_WINDOW;
    loop {
        let start = low.max(high.saturating_sub(window));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&source.name, partition, Offset::Offset(start))?;
        consumer.assign(&list)?;
        let (mut newest, mut last_message) = (None, Instant::now());
        loop {
            match consumer.poll(BROKER_TIMEOUT) {
                Some(Ok(message)) => {
                    let position = position_in(&message, origin);
                    newest = newest.max(position.filter(|position| max.is_none_or(|max| *position <= max)));
                    last_message = Instant::now();
                    if message.offset() + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(error).context("read back the published position"),
                None => anyhow::ensure!(
                    last_message.elapsed() < BROKER_TIMEOUT,
                    "read back the published position: no response"
                ),
            }
        }
        if newest.is_some() || start <= low {
            return Ok(newest);
        }
        window = window.saturating_mul(WINDOW_GROWTH);
    }
}

fn position_in(message: &BorrowedMessage<'_>, origin: &OriginShard) -> Option<Position> {
    let value = message.payload().unwrap_or_default();
    let record = Record::decode(|name| header(message, name), value).ok()?;
    (record.origin == *origin).then(|| record.position())
}

/// Value of a record header.
pub(super) fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}
