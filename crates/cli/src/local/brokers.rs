//! Kafka between local regions: who publishes where, and who reads where.

use std::collections::BTreeMap;
use std::str::FromStr;

use meridian_config::KafkaSink;
use meridian_model::{Link, NameError, RegionName, Topic, Transport};

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

/// `REGION=FROM:TO`: connections to the port FROM are passed to the port TO, until the region is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireSpec {
    /// The region.
    pub region: RegionName,
    /// Where the wire is entered.
    pub from: u16,
    /// Where it ends.
    pub to: u16,
}

/// Why a text is no [`BrokerSpec`] or [`WireSpec`].
#[derive(Debug, thiserror::Error)]
pub enum BrokerSpecError {
    /// Not of that form.
    #[error("{0:?} is not REGION=HOST:PORT, as in us-east=127.0.0.1:9092")]
    Form(String),
    /// Not of that form.
    #[error("{0:?} is not REGION=FROM:TO, as in us-east=19092:9092")]
    Wire(String),
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

impl FromStr for WireSpec {
    type Err = BrokerSpecError;

    fn from_str(text: &str) -> Result<Self, BrokerSpecError> {
        let parts = || {
            let (region, ports) = text.split_once('=')?;
            let (from, to) = ports.split_once(':')?;
            Some((region, from.parse().ok()?, to.parse().ok()?))
        };
        let (region, from, to) = parts().ok_or_else(|| BrokerSpecError::Wire(text.into()))?;
        Ok(Self { region: RegionName::new(region)?, from, to })
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
    /// Regions follow each other directly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where `primary` publishes.
    pub(super) fn sink(&self, primary: &RegionName) -> Option<KafkaSink> {
        let bootstrap_servers = self.0.get(primary)?.clone();
        Some(KafkaSink { bootstrap_servers, topic: TOPIC.into() })
    }

    /// How `region` follows `primary`; nobody follows itself.
    pub(super) fn links(&self, primary: &RegionName, region: &RegionName) -> Vec<Link> {
        if region == primary {
            return Vec::new();
        }
        let topic = |servers: &String, name| Topic { bootstrap_servers: servers.clone(), name };
        let transport = match (self.0.get(primary), self.0.get(region)) {
            (None, _) => Transport::Direct,
            (Some(remote), None) => Transport::Kafka(topic(remote, TOPIC.into())),
            (Some(_), Some(own)) => Transport::Kafka(topic(own, format!("{primary}.{TOPIC}"))),
        };
        vec![Link { source: primary.clone(), transport, paused: false }]
    }
}
