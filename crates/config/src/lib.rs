//! The node's configuration file: YAML, and so JSON too. The operator and `meridian local` write it, a node reads it once,
//! at start.
//!
//! Owns: the keys with their defaults and bounds, and the rules between keys. Must not contain: anything that changes while
//! a node runs (members, the bucket table, the primary region in force and the links are set by calls on the peer port), or
//! access to files, environment and network.
//!
//! ```text
//!   text ──known format?──► keys and bounds (serde names line and key) ──► rules between keys ──► NodeConfig
//! ```
//!
//! An absent key has the default stated at its field; an unknown key is refused. Start reading at [`NodeConfig`].

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use meridian_model::{ClusterId, RegionName, ReplicaId, ShardNumber};
use serde::{Deserialize, Serialize};

mod bounds;
mod collections;
mod cors;
mod limits;
mod regions;
mod rules;

pub use collections::{CollectionDefaults, HnswDefaults};
pub use cors::{Cors, CorsOrigin, CorsOriginError, MAX_ORIGINS};
pub use limits::Limits;
pub use regions::{DeltaLog, FreshnessDefaults, KafkaSink, RegionEndpoint, ReplicationGroup};

use bounds::between;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// Longest file that is read.
pub const FILE_BYTES: usize = 4 << 20;

/// The configuration of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Format of the file: [`FORMAT`].
    pub format: u32,
    /// Name of the cluster, for logs and metrics.
    pub cluster: String,
    /// Identity of the cluster, a UUID; data of another cluster is refused.
    #[serde(with = "cluster_id")]
    pub cluster_id: ClusterId,
    /// The region of this node.
    pub region: RegionName,
    /// The shard of which this node is a replica.
    pub shard: ShardNumber,
    /// Shards of the region.
    #[serde(deserialize_with = "between::<_, u16, 1, 1024>")]
    pub shards: u16,
    /// Addresses of the replicas of all shards when the file was written; the node dials them first.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Address and ports to listen on.
    #[serde(default)]
    pub listen: Listen,
    /// The folder that holds the write-ahead log and the snapshots.
    pub data_dir: PathBuf,
    /// Bounds that protect memory, threads and the time of a stop.
    #[serde(default)]
    pub limits: Limits,
    /// Certificates of the peer port.
    pub peer_tls: Tls,
    /// Who may use the HTTP API. There is no default: running without keys has to be written out.
    pub auth: Auth,
    /// Web pages that may call the HTTP API from a browser.
    #[serde(default, skip_serializing_if = "Cors::is_off")]
    pub cors: Cors,
    /// The regions that replicate each other; absent in a cluster that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_group: Option<ReplicationGroup>,
    /// Where this region publishes its delta log; absent when other regions read it from this one directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_log: Option<DeltaLog>,
    /// Freshness of reads that demand none, and the accuracy of clocks.
    #[serde(default)]
    pub freshness: FreshnessDefaults,
    /// Parameters of collections whose definition names none.
    #[serde(default)]
    pub collection_defaults: CollectionDefaults,
    /// Timing of the consensus.
    #[serde(default)]
    pub raft: RaftTiming,
}

/// Address of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its shard.
    pub shard: ShardNumber,
    /// Its id.
    pub replica: ReplicaId,
    /// `host:port` of its peer port.
    pub address: String,
}

/// Address and ports to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address of all three ports. Default `0.0.0.0`.
    pub address: IpAddr,
    /// Public HTTP API. Default 8080.
    pub api_port: u16,
    /// Metrics and probes. Default 8081.
    pub admin_port: u16,
    /// Peers, always mutual TLS. Default 8082.
    pub peer_port: u16,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), api_port: 8080, admin_port: 8081, peer_port: 8082 }
    }
}

/// PEM files of the peer port's mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The cluster's certificate authority.
    pub ca_file: PathBuf,
    /// This node's certificate.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// Who may use the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `auth: disabled`: everyone who reaches the port.
    Disabled,
    /// `auth: {api_key_file: <path>}`: clients that send one of the keys in the file, one per line.
    ApiKeyFile(PathBuf),
}

/// Timing of the consensus. A replica starts an election after `election_ticks` to twice as many ticks without a leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftTiming {
    /// Milliseconds per tick. Default 20.
    #[serde(deserialize_with = "between::<_, u64, 5, 1000>")]
    pub tick_ms: u64,
    /// Ticks between heartbeats. Default 5.
    #[serde(deserialize_with = "between::<_, u32, 1, 1000>")]
    pub heartbeat_ticks: u32,
    /// Ticks without a leader before an election. Default 40.
    #[serde(deserialize_with = "between::<_, u32, 2, 10000>")]
    pub election_ticks: u32,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self { tick_ms: 20, heartbeat_ticks: 5, election_ticks: 40 }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Longer than [`FILE_BYTES`].
    #[error("a configuration of {0} bytes: at most {FILE_BYTES} are read")]
    TooLong(usize),
    /// Written in a format that this version does not know.
    #[error("format {0} is not known to this version; format {FORMAT} is")]
    Format(u64),
    /// Not YAML, an unknown or missing key, or a value that its key cannot have.
    #[error("line {line}: {message}{}", if text.is_empty() { String::new() } else { format!(" (at `{text}`)") })]
    Syntax {
        /// Line, from 1; 0 when the error has no place in the text.
        line: u64,
        /// The line, cut to 80 characters.
        text: String,
        /// What is wrong.
        message: String,
    },
    /// Keys that contradict each other.
    #[error("{key}: {fault}")]
    Rule {
        /// Path of the key, dots between names.
        key: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// The one key that every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

impl NodeConfig {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// When `text` is too long, of another format, malformed, or contradicts itself. Names the key, and the line if the error
    /// has one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > FILE_BYTES {
            return Err(ConfigError::TooLong(text.len()));
        }
        let head: Head = read(text)?;
        if head.format != u64::from(FORMAT) {
            return Err(ConfigError::Format(head.format));
        }
        let config: Self = read(text)?;
        rules::check(&config)?;
        Ok(config)
    }

    /// The text that [`NodeConfig::parse`] reads back; equal configurations give equal texts.
    ///
    /// # Panics
    /// When a path is not UTF-8; those that come from a parsed text are.
    #[must_use]
    pub fn render(&self) -> String {
        serde_saphyr::to_string(self).expect("plain values and UTF-8 paths always have a YAML form")
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let at =
            usize::try_from(line).ok().and_then(|line| line.checked_sub(1)).and_then(|line| text.lines().nth(line));
        let cut = |line: &str| line.trim().chars().take(80).collect();
        ConfigError::Syntax { line, text: at.map(cut).unwrap_or_default(), message: error.to_string() }
    })
}

mod cluster_id {
    use meridian_model::ClusterId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(id: &ClusterId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClusterId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
