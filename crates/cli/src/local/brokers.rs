//! Kafka brokers of local regions: the topic to which a region publishes, and the topic that other regions read.

use std::collections::BTreeMap;
use std::str::FromStr;

use meridian_config::KafkaSink;
use meridian_model::{Link, NameError, RegionName, Topic, Transport};

/// Topic of the publishing region.
const TOPIC: &str = "vector-deltas";

/// `REGION=HOST:PORT`: the broker of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSpec {
    /// The region.
    pub region: RegionName,
    /// Address of its broker.
    pub bootstrap_servers: String,
}

/// `REGION=FROM:TO`: a proxy from local port FROM to local port TO that is cut together with the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySpec {
    /// The region.
    pub region: RegionName,
    /// Port to listen on.
    pub from: u16,
    /// Port to forward to.
    pub to: u16,
}

/// Why a text is not a [`BrokerSpec`] or [`ProxySpec`].
#[derive(Debug, thiserror::Error)]
pub enum BrokerSpecError {
    /// The form is invalid.
    #[error("broker must be REGION=HOST:PORT, such as us-east=127.0.0.1:9092 (got {0:?})")]
    Form(String),
    /// The form is invalid.
    #[error("proxy must be REGION=FROM:TO, such as us-east=19092:9092 (got {0:?})")]
    ProxyForm(String),
    /// The region name is invalid.
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

impl FromStr for ProxySpec {
    type Err = BrokerSpecError;

    fn from_str(text: &str) -> Result<Self, BrokerSpecError> {
        let fields = || {
            let (region, ports) = text.split_once('=')?;
            let (from, to) = ports.split_once(':')?;
            Some((region, from.parse().ok()?, to.parse().ok()?))
        };
        let (region, from, to) = fields().ok_or_else(|| BrokerSpecError::ProxyForm(text.into()))?;
        Ok(Self { region: RegionName::new(region)?, from, to })
    }
}

/// The brokers of all regions. Without brokers, regions replicate directly. A region without its own broker reads the
/// primary region's; a region with one reads the topic that MirrorMaker 2 copies to it.
#[derive(Debug, Clone, Default)]
pub struct Brokers(BTreeMap<RegionName, String>);

impl FromIterator<BrokerSpec> for Brokers {
    fn from_iter<I: IntoIterator<Item = BrokerSpec>>(specs: I) -> Self {
        Self(specs.into_iter().map(|spec| (spec.region, spec.bootstrap_servers)).collect())
    }
}

impl Brokers {
    /// Whether regions replicate directly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Topic that `primary` publishes to.
    pub(super) fn sink(&self, primary: &RegionName) -> Option<KafkaSink> {
        let bootstrap_servers = self.0.get(primary)?.clone();
        Some(KafkaSink { bootstrap_servers, topic: TOPIC.into() })
    }

    /// Links by which `region` follows `primary`; none when they are the same.
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
