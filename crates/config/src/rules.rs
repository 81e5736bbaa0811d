//! Rules between the keys of a configuration.

use std::collections::BTreeSet;

use meridian_model::{Addresses, ReplicaId, TopicName};

use crate::{Auth, ConfigError, CorsOrigin, DeltaLog, MAX_ORIGINS, NodeConfig, ReplicationGroup};

/// Names, hosts and endpoints are no longer than a DNS name.
const NAME_BYTES: usize = 253;

/// Checks the rules that hold between keys, and those that a type cannot express.
///
/// # Errors
/// [`ConfigError::Rule`] with the path of the first key that violates a rule.
pub fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    name("cluster", &config.cluster)?;
    rule(config.shard.number() <= config.shards, "shard", || {
        format!("{} does not exist, there are {} shards", config.shard, config.shards)
    })?;
    peers(config)?;
    ports(config)?;
    rule(!config.data_dir.as_os_str().is_empty(), "data_dir", || "empty".into())?;
    let tls = &config.peer_tls;
    let files = [
        ("peer_tls.ca_file", &tls.ca_file),
        ("peer_tls.cert_file", &tls.cert_file),
        ("peer_tls.key_file", &tls.key_file),
    ];
    for (key, path) in files {
        rule(!path.as_os_str().is_empty(), key, || "empty".into())?;
    }
    if let Auth::ApiKeyFile(path) = &config.auth {
        rule(!path.as_os_str().is_empty(), "auth.api_key_file", || "empty".into())?;
    }
    let origins = &config.cors.allow_origins;
    rule(origins.len() <= MAX_ORIGINS, "cors.allow_origins", || {
        format!("must have at most {MAX_ORIGINS} entries (got {})", origins.len())
    })?;
    let is_alone = origins.len() == 1 || !origins.iter().any(CorsOrigin::is_any);
    rule(is_alone, "cors.allow_origins", || "must be [\"*\"] or a list without \"*\"".into())?;
    rule(config.raft.heartbeat_ticks < config.raft.election_ticks, "raft.heartbeat_ticks", || {
        format!("{} is not below election_ticks {}", config.raft.heartbeat_ticks, config.raft.election_ticks)
    })?;
    rule(
        config.limits.request_body_bytes <= config.limits.inflight_requests_bytes,
        "limits.request_body_bytes",
        || {
            format!(
                "{} is above inflight_requests_bytes {}",
                config.limits.request_body_bytes, config.limits.inflight_requests_bytes
            )
        },
    )?;
    if let Some(group) = &config.replication_group {
        regions(config, group)?;
    }
    if let Some(DeltaLog { kafka }) = &config.delta_log {
        addresses("delta_log.kafka.bootstrap_servers", &kafka.bootstrap_servers)?;
        topic("delta_log.kafka.topic", &kafka.topic)?;
    }
    Ok(())
}

fn peers(config: &NodeConfig) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for (at, peer) in config.peers.iter().enumerate() {
        let key = format!("peers[{at}]");
        addresses(&format!("{key}.address"), &peer.address)?;
        rule(peer.replica != ReplicaId(0), &key, || "replica ids count from 1".into())?;
        rule(peer.shard.number() <= config.shards, &key, || format!("shard {} does not exist", peer.shard))?;
        rule(seen.insert((peer.shard, peer.replica)), &key, || {
            format!("replica {} of shard {} stands twice", peer.replica, peer.shard)
        })?;
    }
    Ok(())
}

fn ports(config: &NodeConfig) -> Result<(), ConfigError> {
    let listen = &config.listen;
    let ports = [
        ("listen.api_port", listen.api_port),
        ("listen.admin_port", listen.admin_port),
        ("listen.peer_port", listen.peer_port),
    ];
    let mut seen = BTreeSet::new();
    for (key, port) in ports {
        rule(port != 0, key, || "0 is no port".into())?;
        rule(seen.insert(port), key, || format!("{port} is taken by another key"))?;
    }
    Ok(())
}

fn regions(config: &NodeConfig, group: &ReplicationGroup) -> Result<(), ConfigError> {
    name("replication_group.name", &group.name)?;
    let mut seen = BTreeSet::new();
    for (at, region) in group.regions.iter().enumerate() {
        let key = format!("replication_group.regions[{at}]");
        addresses(&format!("{key}.endpoint"), &region.endpoint)?;
        rule(seen.insert(&region.name), &key, || format!("region {} stands twice", region.name))?;
    }
    for (key, region) in [("region", &config.region), ("replication_group.primary_region", &group.primary_region)] {
        rule(seen.contains(region), key, || format!("{region} is not among replication_group.regions"))?;
    }
    rule(!group.key_file.as_os_str().is_empty(), "replication_group.key_file", || "empty".into())
}

fn rule(holds: bool, key: &str, fault: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Rule { key: key.into(), fault: fault() }) }
}

fn name(key: &str, text: &str) -> Result<(), ConfigError> {
    let is_valid =
        !text.is_empty() && text.len() <= NAME_BYTES && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    rule(is_valid, key, || format!("{text:?} is no name: 1 to {NAME_BYTES} bytes without spaces"))
}

/// One or several `host:port`, separated by commas.
fn addresses(key: &str, text: &str) -> Result<(), ConfigError> {
    Addresses::new(text).map(drop).map_err(|fault| ConfigError::Rule { key: key.into(), fault: fault.to_string() })
}

/// Kafka's own rule for topic names.
fn topic(key: &str, text: &str) -> Result<(), ConfigError> {
    TopicName::new(text).map(drop).map_err(|fault| ConfigError::Rule { key: key.into(), fault: fault.to_string() })
}
