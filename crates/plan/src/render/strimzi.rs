//! MirrorMaker 2 as a Strimzi resource (`kafka.strimzi.io/v1`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::mirror_maker::{Flow, TASKS};

/// A `KafkaMirrorMaker2` that runs beside the target: it consumes remotely and produces locally.
pub(super) fn kafka_mirror_maker2(meta: &ObjectMeta, flow: &Flow<'_>) -> Value {
    let Flow { source, target, from, to, topic, running, group_id } = flow;
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaMirrorMaker2",
        "metadata": meta,
        "spec": {
            "replicas": 1,
            "target": {
                "alias": target,
                "bootstrapServers": to,
                "groupId": group_id,
                // The prefix of two underscores excludes the topics from mirroring.
                "configStorageTopic": format!("__{group_id}-configs"),
                "offsetStorageTopic": format!("__{group_id}-offsets"),
                "statusStorageTopic": format!("__{group_id}-status"),
                "config": {
                    "exactly.once.source.support": "enabled",
                    "config.storage.replication.factor": -1,
                    "offset.storage.replication.factor": -1,
                    "status.storage.replication.factor": -1,
                    // The default leaves the tasks of a dead worker idle for five minutes.
                    "scheduled.rebalance.max.delay.ms": 10000,
                },
            },
            "mirrors": [{
                "source": { "alias": source, "bootstrapServers": from },
                "sourceConnector": {
                    "tasksMax": TASKS,
                    "state": if *running { "running" } else { "paused" },
                    "autoRestart": { "enabled": true },
                    "config": {
                        "exactly.once.support": "required",
                        "consumer.isolation.level": "read_committed",
                        "consumer.poll.timeout.ms": 20,
                        "consumer.fetch.max.wait.ms": 20,
                        "replication.policy.class": "org.apache.kafka.connect.mirror.DefaultReplicationPolicy",
                        "replication.policy.separator": ".",
                        "replication.factor": -1,
                        "offset-syncs.topic.location": "target",
                        "offset-syncs.topic.replication.factor": -1,
                        "refresh.topics.interval.seconds": 5,
                        "sync.topic.acls.enabled": "false",
                        "producer.override.acks": "all",
                        "producer.override.linger.ms": 0,
                        "producer.override.max.request.size": 8_388_608,
                    },
                },
                "topicsPattern": topic.replace('.', "\\."),
            }],
        },
    })
}
