//! How far this shard's log is published: what the newest record of ours in its partition says.

use std::time::Instant;

use anyhow::Context as _;
use meridian_model::{OriginShard, Position, Topic};
use meridian_proto::record::Record;
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{ANSWER_WITHIN, reader};

/// Records read back at first; each time nothing of ours is among them, more.
const READ_BACK: i64 = 64;
/// By how many times.
const MORE: i64 = 16;

/// The newest position that the partition of `origin` holds; `None` when it holds nothing of it. What claims to be behind
/// `most` is not believed.
pub(super) fn published(
    source: &Topic,
    origin: &OriginShard,
    most: Option<Position>,
) -> anyhow::Result<Option<Position>> {
    let consumer = reader(&source.bootstrap_servers)?;
    let partition = origin.shard.partition();
    let (low, high) = consumer.fetch_watermarks(&source.name, partition, ANSWER_WITHIN)?;
    let mut window = READ_BACK;
    loop {
        let start = low.max(high.saturating_sub(window));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&source.name, partition, Offset::Offset(start))?;
        consumer.assign(&list)?;
        let (mut newest, mut heard) = (None, Instant::now());
        loop {
            match consumer.poll(ANSWER_WITHIN) {
                Some(Ok(message)) => {
                    let position = position_in(&message, origin);
                    newest = newest.max(position.filter(|position| most.is_none_or(|most| *position <= most)));
                    heard = Instant::now();
                    if message.offset() + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(fault)) => return Err(fault).context("read back what is published"),
                None => anyhow::ensure!(heard.elapsed() < ANSWER_WITHIN, "read back what is published: no answer"),
            }
        }
        if newest.is_some() || start <= low {
            return Ok(newest);
        }
        window = window.saturating_mul(MORE);
    }
}

fn position_in(message: &BorrowedMessage<'_>, origin: &OriginShard) -> Option<Position> {
    let value = message.payload().unwrap_or_default();
    let record = Record::decode(|name| header(message, name), value).ok()?;
    (record.origin == *origin).then(|| record.position())
}

/// The value of a header.
pub(super) fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}
