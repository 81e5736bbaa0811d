//! Other regions: the replication group, the published delta log, the freshness of reads.

use std::path::PathBuf;

use meridian_model::RegionName;
use meridian_model::client::OnStale;
use serde::{Deserialize, Serialize};

use crate::bounds::{between, maybe_between};

/// The regions that replicate each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicationGroup {
    /// Its name, the same in all regions.
    pub name: String,
    /// The region that is primary when the group begins.
    pub primary_region: RegionName,
    /// File with the group key, equal in all regions of the group.
    pub key_file: PathBuf,
    /// Whether clients may also use the API key derived from the group key, which is equal in all regions. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derive_api_key: bool,
    /// All regions, this one included.
    pub regions: Vec<RegionEndpoint>,
}

/// One region of a group and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionEndpoint {
    /// The region.
    pub name: RegionName,
    /// `host:port` of its peer port; any pod behind it relays to the right shard.
    pub endpoint: String,
}

/// Where the region publishes its delta log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaLog {
    /// A Kafka topic.
    pub kafka: KafkaSink,
}

/// The topic to which deltas are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSink {
    /// `host:port`, several with commas between.
    pub bootstrap_servers: String,
    /// Default `vector-deltas`.
    #[serde(default = "default_topic")]
    pub topic: String,
}

fn default_topic() -> String {
    "vector-deltas".into()
}

/// Freshness of reads that demand none, and the accuracy of clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreshnessDefaults {
    /// Required freshness of a read that names none, in milliseconds; absent: none.
    #[serde(deserialize_with = "maybe_between::<_, 0, 86400000>", skip_serializing_if = "Option::is_none")]
    pub default_ms: Option<u64>,
    /// Fallbacks in the order in which they are tried. Default wait, redirect, serve.
    #[serde(with = "on_stale")]
    pub on_stale: Vec<OnStale>,
    /// Milliseconds that a wait may last. Default 500.
    #[serde(deserialize_with = "between::<_, u64, 0, 600000>")]
    pub max_wait_ms: u64,
    /// Milliseconds between two statements of completeness of a leader. Default 50, at least 25.
    #[serde(deserialize_with = "between::<_, u64, 25, 60000>")]
    pub completeness_interval_ms: u64,
    /// Largest difference between the clocks of two regions, in milliseconds. Default 10.
    #[serde(deserialize_with = "between::<_, u64, 0, 60000>")]
    pub clock_bound_ms: u64,
    /// Largest step of the wall clock within a second, in milliseconds; after a larger one the old time is used until the
    /// group confirms the new one. Default 500.
    #[serde(deserialize_with = "between::<_, u64, 1, 600000>")]
    pub max_drift_ms: u64,
}

impl Default for FreshnessDefaults {
    fn default() -> Self {
        Self {
            default_ms: None,
            on_stale: vec![OnStale::Wait, OnStale::Redirect, OnStale::Serve],
            max_wait_ms: 500,
            completeness_interval_ms: 50,
            clock_bound_ms: 10,
            max_drift_ms: 500,
        }
    }
}

mod on_stale {
    use meridian_model::client::OnStale;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(fallbacks: &[OnStale], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(fallbacks.iter().copied().map(OnStale::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OnStale>, D::Error> {
        OnStale::parse_list(&Vec::<String>::deserialize(deserializer)?.join(","))
            .map_err(|fault| D::Error::custom(format_args!("X-Required-Freshness: on-stale: {fault}")))
    }
}
