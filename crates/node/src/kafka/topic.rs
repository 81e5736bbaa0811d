//! The topic of the delta log: created if missing, refused if its settings would lose deltas.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::executor::block_on;
use meridian_model::Topic;
use meridian_proto::record::RECORD_BYTES;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{BROKER_TIMEOUT, create_consumer, producer_config};

/// Interval between two polls for a new topic.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The broker's default replication factor.
const BROKER_DEFAULT: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// Ensures that the topic exists with a partition per shard and safe settings.
pub(super) fn ensure_ready(sink: &Topic, shards: u16) -> anyhow::Result<()> {
    let Topic { bootstrap_servers, name: topic } = sink;
    let admin: AdminClient<DefaultClientContext> = producer_config(bootstrap_servers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT)).request_timeout(Some(BROKER_TIMEOUT));
    let partitions = match partition_count(sink)? {
        Some(partitions) => partitions,
        None => {
            block_on(create_topic(sink, shards, &admin, &options))?;
            wait_until_created(sink)?
        }
    };
    ensure!(
        partitions >= usize::from(shards),
        "partitions of topic {topic} must be >= {shards}, the number of shards (got {partitions})"
    );
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let described = described.with_context(|| format!("describe topic {topic}"))?;
    let mut settings = BTreeMap::new();
    for resource in described {
        let entries = resource.map_err(|error| anyhow::anyhow!("describe topic {topic}: {error}"))?.entries;
        settings.extend(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
    }
    check_settings(topic, &settings)
}

async fn create_topic(
    sink: &Topic,
    shards: u16,
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
) -> anyhow::Result<()> {
    let (topic, bytes) = (&sink.name, RECORD_BYTES.to_string());
    let new = NewTopic::new(topic, i32::from(shards), BROKER_DEFAULT)
        .set("cleanup.policy", "delete")
        .set("max.message.bytes", &bytes);
    for created in admin.create_topics([&new], options).await.with_context(|| format!("create topic {topic}"))? {
        match created {
            Ok(_) => tracing::info!(topic, partitions = shards, "topic created"),
            // The leader of another shard created it first.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, error)) => bail!("create topic {topic}: {error}"),
        }
    }
    Ok(())
}

/// Polls until the topic is visible: metadata of a new topic is not on every broker at once.
fn wait_until_created(sink: &Topic) -> anyhow::Result<usize> {
    let deadline = Instant::now() + BROKER_TIMEOUT;
    loop {
        match partition_count(sink)? {
            Some(partitions) => return Ok(partitions),
            None if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
            None => bail!("topic {} was created but is not visible", sink.name),
        }
    }
}

/// Refuses settings that would lose deltas.
fn check_settings(topic: &str, settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if let Some(policy) = settings.get("cleanup.policy") {
        ensure!(policy == "delete", "topic {topic} has cleanup.policy={policy}, which loses deltas: it must be delete");
    }
    if let Some(bytes) = settings.get("max.message.bytes") {
        ensure!(
            bytes.parse::<usize>().is_ok_and(|bytes| bytes >= RECORD_BYTES),
            "topic {topic} has max.message.bytes={bytes}, which refuses the largest points: it must be >= {RECORD_BYTES}"
        );
    }
    Ok(())
}

/// Number of partitions; `None` when the topic does not exist.
pub(super) fn partition_count(source: &Topic) -> anyhow::Result<Option<usize>> {
    // A consumer with `allow.auto.create.topics=false` does not create the topic.
    let consumer = create_consumer(&source.bootstrap_servers)?;
    let metadata = match consumer.fetch_metadata(Some(&source.name), BROKER_TIMEOUT) {
        Ok(metadata) => metadata,
        Err(error) => {
            let last_error = consumer.context().take_last().unwrap_or_else(|| error.to_string());
            bail!("broker {} does not answer: {last_error}", source.bootstrap_servers);
        }
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == source.name) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(error) => bail!("topic {}: {error}", source.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_in_which_deltas_get_lost_is_refused_by_name() {
        let valid = [("cleanup.policy", "delete".to_owned()), ("max.message.bytes", RECORD_BYTES.to_string())];
        let with = |name: &str, value: &str| {
            let mut settings: BTreeMap<String, String> =
                valid.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            settings.insert(name.into(), value.into());
            check_settings("t", &settings).map_err(|error| error.to_string())
        };
        assert_eq!(with("retention.ms", "1"), Ok(()));
        assert!(with("cleanup.policy", "compact").unwrap_err().contains("cleanup.policy=compact"));
        assert!(with("cleanup.policy", "compact,delete").is_err());
        assert!(with("max.message.bytes", "1048588").unwrap_err().contains("max.message.bytes=1048588"));
    }
}
