//! Kafka between local regions: who publishes where, and who reads where.

use std::collections::BTreeMap;
use std::str::FromStr;

use meridian_model::{NameError, RegionName};
use meridian_wire::config::{KafkaSink, KafkaVia, Transport};

/// The topic of the region that publishes.
const TOPIC: &str = "vector-deltas";

/// `REGION=HOST:PORT`: the broker beside a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSpec {
    /// The region.
    pub region: RegionName,
    /// Where its broker is.
    pub bootstrap_servers: String,
}

/// Why a text is no [`BrokerSpec`].
#[derive(Debug, thiserror::Error)]
pub enum BrokerSpecError {
    /// Not of that form.
    #[error("{0:?} is not REGION=HOST:PORT, as in us-east=127.0.0.1:9092")]
    Form(String),
    /// The name is none.
    #[error("region name")]
    Name(#[from] NameError),
}

impl FromStr for BrokerSpec {
    type Err = BrokerSpecError;

    fn from_str(text: &str) -> Result<Self, BrokerSpecError> {
        let (region, servers) = text.split_once('=').ok_or_else(|| BrokerSpecError::Form(text.into()))?;
        Ok(Self { region: RegionName::new(region)?, bootstrap_servers: servers.into() })
    }
}

/// The brokers beside the regions. With none, regions follow each other directly; with one at the primary region, it is read
/// by the others; a region that has its own reads that one, to which MirrorMaker 2 copies.
#[derive(Debug, Clone, Default)]
pub struct Brokers(BTreeMap<RegionName, String>);

impl FromIterator<BrokerSpec> for Brokers {
    fn from_iter<I: IntoIterator<Item = BrokerSpec>>(specs: I) -> Self {
        Self(specs.into_iter().map(|spec| (spec.region, spec.bootstrap_servers)).collect())
    }
}

impl Brokers {
    /// Where `primary` publishes.
    pub(super) fn sink(&self, primary: &RegionName) -> Option<KafkaSink> {
        let bootstrap_servers = self.0.get(primary)?.clone();
        Some(KafkaSink { bootstrap_servers, topic: TOPIC.into() })
    }

    /// How `region` reads `primary`.
    pub(super) fn transport(&self, primary: &RegionName, region: &RegionName) -> Transport {
        match (self.0.get(primary), self.0.get(region)) {
            (None, _) => Transport::Direct,
            (Some(remote), None) => {
                Transport::Kafka { via: KafkaVia::Remote, bootstrap_servers: remote.clone(), topic: TOPIC.into() }
            }
            (Some(_), Some(own)) => {
                let topic = format!("{primary}.{TOPIC}");
                Transport::Kafka { via: KafkaVia::Mirror, bootstrap_servers: own.clone(), topic }
            }
        }
    }
}
