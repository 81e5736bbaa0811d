//! The topic that deltas are published to: made if it is not there, refused if deltas would get lost in it.

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

use super::client::{ANSWER_WITHIN, reader, writer};

/// Between two looks for a topic that was just made.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The broker's own replication factor.
const AS_THE_BROKER_SAYS: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// Makes sure that the topic can hold the logs of `shards` shards.
pub(super) fn ensure_ready(sink: &Topic, shards: u16) -> anyhow::Result<()> {
    let Topic { bootstrap_servers, name: topic } = sink;
    let admin: AdminClient<DefaultClientContext> = writer(bootstrap_servers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN)).request_timeout(Some(ANSWER_WITHIN));
    let partitions = match partitions(sink)? {
        Some(partitions) => partitions,
        None => {
            block_on(make(sink, shards, &admin, &options))?;
            await_made(sink)?
        }
    };
    ensure!(
        partitions >= usize::from(shards),
        "topic {topic} has {partitions} partitions, {shards} shards need one each"
    );
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let described = described.with_context(|| format!("ask for the settings of topic {topic}"))?;
    let mut settings = BTreeMap::new();
    for resource in described {
        let entries =
            resource.map_err(|fault| anyhow::anyhow!("ask for the settings of topic {topic}: {fault}"))?.entries;
        settings.extend(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
    }
    check(topic, &settings)
}

async fn make(
    sink: &Topic,
    shards: u16,
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
) -> anyhow::Result<()> {
    let (topic, bytes) = (&sink.name, RECORD_BYTES.to_string());
    let new = NewTopic::new(topic, i32::from(shards), AS_THE_BROKER_SAYS)
        .set("cleanup.policy", "delete")
        .set("max.message.bytes", &bytes);
    for made in admin.create_topics([&new], options).await.with_context(|| format!("make topic {topic}"))? {
        match made {
            Ok(_) => tracing::info!(topic, partitions = shards, "topic made"),
            // The leader of another shard was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, fault)) => bail!("make topic {topic}: {fault}"),
        }
    }
    Ok(())
}

/// A topic that was just made is not known to every broker at once.
fn await_made(sink: &Topic) -> anyhow::Result<usize> {
    let until = Instant::now() + ANSWER_WITHIN;
    loop {
        match partitions(sink)? {
            Some(partitions) => return Ok(partitions),
            None if Instant::now() < until => std::thread::sleep(LOOK_AGAIN_AFTER),
            None => bail!("topic {} was made and is not there", sink.name),
        }
    }
}

/// Refuses settings by which deltas would get lost.
fn check(topic: &str, settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if let Some(policy) = settings.get("cleanup.policy") {
        ensure!(
            policy == "delete",
            "topic {topic} has cleanup.policy={policy}: deltas would get lost; it must be delete"
        );
    }
    if let Some(bytes) = settings.get("max.message.bytes") {
        ensure!(
            bytes.parse::<usize>().is_ok_and(|bytes| bytes >= RECORD_BYTES),
            "topic {topic} has max.message.bytes={bytes}: the largest points would be refused; at least {RECORD_BYTES} are needed"
        );
    }
    Ok(())
}

/// How many partitions the topic has; `None` when it is not there.
pub(super) fn partitions(source: &Topic) -> anyhow::Result<Option<usize>> {
    // A reader never makes a topic by asking for it.
    let reader = reader(&source.bootstrap_servers)?;
    let metadata = match reader.fetch_metadata(Some(&source.name), ANSWER_WITHIN) {
        Ok(metadata) => metadata,
        Err(fault) => {
            let heard = reader.context().heard().unwrap_or_else(|| fault.to_string());
            bail!("broker {} does not answer: {heard}", source.bootstrap_servers);
        }
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == source.name) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(fault) => bail!("topic {}: {fault}", source.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_in_which_deltas_get_lost_is_refused_by_name() {
        let good = [("cleanup.policy", "delete".to_owned()), ("max.message.bytes", RECORD_BYTES.to_string())];
        let with = |name: &str, value: &str| {
            let mut settings: BTreeMap<String, String> =
                good.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            settings.insert(name.into(), value.into());
            check("t", &settings).map_err(|fault| fault.to_string())
        };
        assert_eq!(with("retention.ms", "1"), Ok(()));
        assert!(with("cleanup.policy", "compact").unwrap_err().contains("cleanup.policy=compact"));
        assert!(with("cleanup.policy", "compact,delete").is_err());
        assert!(with("max.message.bytes", "1048588").unwrap_err().contains("max.message.bytes=1048588"));
    }
}
