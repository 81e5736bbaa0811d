//! The configuration file of a node: only fields whose change needs a restart, and none that changes with the number of
//! replicas.

use meridian_config::{
    Auth, CollectionDefaults, DeltaLog, FORMAT, KafkaSink, Limits, Listen, NodeConfig, Peer, RaftTiming,
    ReplicationGroup, Tls,
};
use meridian_model::{ReplicaId, ShardNumber};

use super::pod::paths;
use crate::ValidCluster;

/// Pods of a shard that a starting node contacts first, regardless of the number of replicas: if it followed that
/// number, each change of it would restart all pods.
const FIRST_ASKED: u16 = 3;

/// The configuration of a shard's nodes.
pub(super) fn node(cluster: &ValidCluster, shard: ShardNumber) -> NodeConfig {
    let peers = ShardNumber::all(cluster.shards)
        .flat_map(|shard| (0..FIRST_ASKED).map(move |ordinal| (shard, ordinal)))
        .map(|(shard, ordinal)| Peer {
            shard,
            replica: ReplicaId(u64::from(ordinal) + 1),
            address: cluster.peer_address(shard, ordinal),
        })
        .collect();
    let sink = |kafka: &crate::Kafka| KafkaSink {
        bootstrap_servers: kafka.bootstrap_servers.to_string(),
        topic: kafka.topic.to_string(),
    };
    NodeConfig {
        format: FORMAT,
        cluster: cluster.name.clone(),
        cluster_id: cluster.id,
        region: cluster.region.clone(),
        shard,
        shards: cluster.shards,
        peers,
        listen: Listen::default(),
        data_dir: paths::DATA.into(),
        limits: Limits::default(),
        peer_tls: Tls {
            ca_file: paths::TLS_CA.into(),
            cert_file: paths::TLS_CERT.into(),
            key_file: paths::TLS_KEY.into(),
        },
        auth: match &cluster.api_key {
            Some(_) => Auth::ApiKeyFile(paths::API_KEY.into()),
            None => Auth::Disabled,
        },
        cors: cluster.cors.clone(),
        replication_group: cluster.group.as_ref().map(|group| ReplicationGroup {
            name: group.name.clone(),
            primary_region: group.primary.clone(),
            key_file: paths::GROUP_KEY.into(),
            // A Secret named by the user holds all keys that the user wants.
            derive_api_key: cluster.api_key.as_ref().is_some_and(|key| key.secret_is_ours),
            regions: group.regions.clone(),
        }),
        delta_log: cluster.kafka.as_ref().map(|kafka| DeltaLog { kafka: sink(kafka) }),
        freshness: cluster.freshness.clone(),
        collection_defaults: CollectionDefaults { hnsw_config: cluster.hnsw },
        raft: RaftTiming::default(),
    }
}
