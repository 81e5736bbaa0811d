//! Parsed specs: valid by construction, so rendering them cannot fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use meridian_config::{Cors, CorsOriginError, FreshnessDefaults, HnswDefaults, RegionEndpoint};
use meridian_crd::{self as crd, AuthMode, Resources, VectorCluster, VectorClusterSpec};
use meridian_model::client::OnStale;
use meridian_model::{ClusterId, PrimaryTerm, RegionName, ShardNumber};
use meridian_proto::topology::Genesis;

mod link;
mod text;
mod traffic;
mod upgrade;
pub use link::{Kafka, MirrorMaker, ValidLink};
use text::{dns_name, label};

use crate::parse_duration;
pub use traffic::{AllowedHost, ValidIstio};

/// Longest name of a cluster, in bytes: names of pods and Services contain it.
const NAME_BYTES: usize = 40;
/// Longest name of a namespace and of a replication group, in bytes: a DNS label.
const NAMESPACE_BYTES: usize = 63;
const GROUP_NAME_BYTES: usize = 63;
/// Units of bytes, and of cores.
const SIZES: [&str; 10] = ["Ki", "Mi", "Gi", "Ti", "Pi", "k", "M", "G", "T", "P"];
const CORES: [&str; 1] = ["m"];

/// Command-line settings of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the data plane where the spec names none.
    pub default_image: String,
    /// Image of Apache Kafka that runs MirrorMaker 2 in a Deployment.
    pub kafka_image: String,
    /// Hosts that routes of the mesh may claim in addition to those that are always allowed.
    pub allowed_hosts: Vec<AllowedHost>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_image: concat!("ghcr.io/meridiandb/meridian-node:", env!("CARGO_PKG_VERSION")).into(),
            kafka_image: "docker.io/apache/kafka:4.1.1".into(),
            allowed_hosts: Vec::new(),
        }
    }
}

/// A spec that the operator refuses, with the reason for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Refusal {
    /// Path of the field.
    pub field: &'static str,
    /// The violated constraint.
    pub fault: String,
}

/// A valid cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidCluster {
    /// Its name: a DNS label of at most 40 bytes.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its owner reference; absent offline.
    pub owner: Option<OwnerReference>,
    /// The generation of its spec.
    pub generation: i64,
    /// The id on its volumes.
    pub id: ClusterId,
    /// Its region.
    pub region: RegionName,
    /// Number of shards.
    pub shards: u16,
    /// Replicas of each shard.
    pub replicas: u16,
    /// Image of the data plane.
    pub image: String,
    /// Image that runs MirrorMaker 2 in a Deployment.
    pub kafka_image: String,
    /// Size of a volume.
    pub volume_size: String,
    /// Class of a volume.
    pub storage_class: Option<String>,
    /// CPU and memory of a pod.
    pub resources: ResourceRequirements,
    /// The regions that hold the same data.
    pub group: Option<ValidGroup>,
    /// The topic to which its delta logs are published.
    pub kafka: Option<Kafka>,
    /// Defaults of reads.
    pub freshness: FreshnessDefaults,
    /// Defaults of collections.
    pub hnsw: HnswDefaults,
    /// The API key; `None` if access is open.
    pub api_key: Option<ApiKey>,
    /// Origins of web pages that may call the API.
    pub cors: Cors,
    /// Routes of the mesh.
    pub istio: Option<ValidIstio>,
    /// How long new behavior versions soak before they are finalized; `None`: until a user asks.
    pub finalize_after: Option<Duration>,
    /// Links by source region.
    pub links: Vec<ValidLink>,
}

/// The regions that hold the same data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidGroup {
    /// Its name.
    pub name: String,
    /// The primary region.
    pub primary: RegionName,
    /// Secret with the group key.
    pub secret: String,
    /// The operator creates that Secret if it does not exist: only in a group of one region.
    pub secret_is_ours: bool,
    /// All regions.
    pub regions: Vec<RegionEndpoint>,
}

/// Location of the API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Secret with the key.
    pub secret: String,
    /// The operator creates that Secret if it does not exist.
    pub secret_is_ours: bool,
}

impl ValidCluster {
    /// Parses a cluster and those of `links` that point to it. Invalid links are omitted; [`ValidLink::parse`] returns
    /// their refusals.
    ///
    /// `id`: the id on the volumes, or the UID of the resource for a cluster without volumes.
    ///
    /// # Errors
    /// A [`Refusal`] with the first invalid field.
    pub fn parse(
        cluster: &VectorCluster,
        links: &[crd::ReplicationLink],
        id: ClusterId,
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let spec = &cluster.spec;
        let name = label("metadata.name", cluster.metadata.name.as_deref().unwrap_or_default(), NAME_BYTES)?;
        let namespace = cluster.metadata.namespace.as_deref().unwrap_or("default");
        let storage_class = spec.storage.storage_class_name.as_deref();
        let kafka = spec.delta_log.as_ref().map(|log| &log.kafka);
        let region = region("spec.region", &spec.region)?;
        let mut valid = Self {
            namespace: label("metadata.namespace", namespace, NAMESPACE_BYTES)?,
            owner: cluster.controller_owner_ref(&()),
            generation: cluster.metadata.generation.unwrap_or_default(),
            id,
            shards: count("spec.shards", spec.shards, 256)?,
            replicas: count("spec.replicasPerShard", spec.replicas_per_shard, 5)?,
            image: text::image("spec.image", spec.image.as_ref().unwrap_or(&settings.default_image))?,
            kafka_image: settings.kafka_image.clone(),
            volume_size: text::quantity("spec.storage.size", &spec.storage.size, &SIZES)?,
            storage_class: storage_class.map(|name| dns_name("spec.storage.storageClassName", name)).transpose()?,
            resources: resources(spec.resources.as_ref())?,
            group: group(&name, &region, spec)?,
            kafka: kafka
                .map(|kafka| {
                    Kafka::parse(
                        ("spec.deltaLog.kafka.bootstrapServers", &kafka.bootstrap_servers),
                        ("spec.deltaLog.kafka.topic", kafka.topic.as_deref()),
                    )
                })
                .transpose()?,
            freshness: freshness(spec)?,
            hnsw: hnsw(spec)?,
            api_key: api_key(&name, spec)?,
            cors: cors(spec)?,
            istio: None,
            finalize_after: upgrade::finalize_after(spec.upgrade.as_ref())?,
            links: Vec::new(),
            region,
            name,
        };
        if valid.replicas.is_multiple_of(2) {
            return refuse("spec.replicasPerShard", "must be 1, 3 or 5");
        }
        let istio = spec.traffic.as_ref().and_then(|traffic| traffic.istio.as_ref());
        let place = (valid.name.as_str(), valid.namespace.as_str());
        valid.istio = istio.map(|istio| traffic::istio(istio, place, &settings.allowed_hosts)).transpose()?;
        valid.links = link::accepted(&valid, links);
        Ok(valid)
    }

    /// The region that is primary at first.
    #[must_use]
    pub fn primary(&self) -> &RegionName {
        self.group.as_ref().map_or(&self.region, |group| &group.primary)
    }

    /// The identity that all replicas of a shard share.
    #[must_use]
    pub fn genesis(&self, shard: ShardNumber) -> Genesis {
        Genesis {
            cluster: self.id,
            region: self.region.clone(),
            shard,
            shards: self.shards,
            primary: self.primary().clone(),
            primary_term: PrimaryTerm(1),
        }
    }
}

fn refuse<T>(field: &'static str, fault: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { field, fault: fault.into() })
}

fn region(field: &'static str, name: &str) -> Result<RegionName, Refusal> {
    RegionName::new(name).map_err(|error| Refusal { field, fault: error.to_string() })
}

fn count(field: &'static str, number: i32, most: u16) -> Result<u16, Refusal> {
    match u16::try_from(number) {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => refuse(field, format!("must be between 1 and {most} (got {number})")),
    }
}

fn resources(resources: Option<&Resources>) -> Result<ResourceRequirements, Refusal> {
    type Fields = (&'static str, &'static str);
    let quantity = |field, amount: &IntOrString, units: &[&str]| {
        let text = match amount {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        text::quantity(field, &text, units).map(Quantity)
    };
    let amounts = |(cpu, memory): Fields, amounts: &crd::Amounts| {
        let mut all = BTreeMap::new();
        if let Some(amount) = &amounts.cpu {
            all.insert("cpu".to_owned(), quantity(cpu, amount, &CORES)?);
        }
        if let Some(amount) = &amounts.memory {
            all.insert("memory".to_owned(), quantity(memory, amount, &SIZES)?);
        }
        Ok(all)
    };
    let fields = (
        ("spec.resources.requests.cpu", "spec.resources.requests.memory"),
        ("spec.resources.limits.cpu", "spec.resources.limits.memory"),
    );
    Ok(ResourceRequirements {
        requests: resources.and_then(|r| r.requests.as_ref()).map(|r| amounts(fields.0, r)).transpose()?,
        limits: resources.and_then(|r| r.limits.as_ref()).map(|r| amounts(fields.1, r)).transpose()?,
        claims: None,
    })
}

fn group(cluster: &str, own: &RegionName, spec: &VectorClusterSpec) -> Result<Option<ValidGroup>, Refusal> {
    let Some(group) = &spec.replication_group else { return Ok(None) };
    if group.write_mode == Some(crd::WriteMode::MultiWriter) {
        return refuse("spec.replicationGroup.writeMode", "MultiWriter is not supported yet");
    }
    let mut seen = BTreeSet::new();
    let mut regions = Vec::new();
    for member in &group.regions {
        let name = region("spec.replicationGroup.regions", &member.name)?;
        if !seen.insert(name.clone()) {
            return refuse("spec.replicationGroup.regions", format!("{name} stands twice"));
        }
        let endpoint = text::addresses("spec.replicationGroup.regions.endpoint", &member.endpoint)?.to_string();
        regions.push(RegionEndpoint { name, endpoint });
    }
    let primary = region("spec.replicationGroup.primary.region", &group.primary.region)?;
    for (field, name) in [("spec.replicationGroup.primary.region", &primary), ("spec.region", own)] {
        if !seen.contains(name) {
            return refuse(field, format!("{name} is not among replicationGroup.regions"));
        }
    }
    Ok(Some(ValidGroup {
        name: label("spec.replicationGroup.name", &group.name, GROUP_NAME_BYTES)?,
        primary,
        secret: match &group.secret_ref {
            Some(secret) => dns_name("spec.replicationGroup.secretRef.name", &secret.name)?,
            None => format!("{cluster}-group-key"),
        },
        // A generated key would differ from that of the other regions.
        secret_is_ours: group.secret_ref.is_none() && regions.len() == 1,
        regions,
    }))
}

fn api_key(cluster: &str, spec: &VectorClusterSpec) -> Result<Option<ApiKey>, Refusal> {
    Ok(match &spec.auth {
        Some(auth) if auth.mode == AuthMode::Disabled => None,
        Some(crd::Auth { secret_ref: Some(secret), .. }) => {
            Some(ApiKey { secret: dns_name("spec.auth.secretRef.name", &secret.name)?, secret_is_ours: false })
        }
        _ => Some(ApiKey { secret: format!("{cluster}-api-key"), secret_is_ours: true }),
    })
}

fn freshness(spec: &VectorClusterSpec) -> Result<FreshnessDefaults, Refusal> {
    let mut valid = FreshnessDefaults::default();
    let Some(freshness) = &spec.freshness else { return Ok(valid) };
    if let Some(text) = &freshness.default {
        valid.default_ms = Some(millis("spec.freshness.default", text)?);
    }
    if let Some(text) = &freshness.max_wait {
        valid.max_wait_ms = millis("spec.freshness.maxWait", text)?;
    }
    if let Some(text) = &freshness.clock_bound {
        valid.clock_bound_ms = millis("spec.freshness.clockBound", text)?;
    }
    if let Some(fallbacks) = &freshness.on_stale {
        let fallback = |fallback: &crd::OnStale| match fallback {
            crd::OnStale::Wait => OnStale::Wait,
            crd::OnStale::Redirect => OnStale::Redirect,
            crd::OnStale::Serve => OnStale::Serve,
            crd::OnStale::Fail => OnStale::Fail,
        };
        valid.on_stale = fallbacks.iter().map(fallback).collect();
    }
    Ok(valid)
}

/// Milliseconds of a duration as the schema writes it. Fractions round up, so that a freshness demand never becomes
/// zero.
fn millis(field: &'static str, text: &str) -> Result<u64, Refusal> {
    let duration = parse_duration(text, &["us", "ms", "s", "m"]);
    let millis = duration.and_then(|duration| u64::try_from(duration.as_micros().div_ceil(1000)).ok());
    millis.ok_or_else(|| Refusal { field, fault: format!("must be a duration such as 100ms or 2s (got {text:?})") })
}

fn cors(spec: &VectorClusterSpec) -> Result<Cors, Refusal> {
    let origins = spec.cors.iter().flat_map(|cors| &cors.allow_origins);
    let origin = |text: &String| {
        text.parse()
            .map_err(|fault: CorsOriginError| Refusal { field: "spec.cors.allowOrigins", fault: fault.to_string() })
    };
    Ok(Cors { allow_origins: origins.map(origin).collect::<Result<_, _>>()? })
}

fn hnsw(spec: &VectorClusterSpec) -> Result<HnswDefaults, Refusal> {
    let mut valid = HnswDefaults::default();
    let defaults = spec.collection_defaults.as_ref();
    let Some(hnsw) = defaults.and_then(|defaults| defaults.hnsw_config.as_ref()) else { return Ok(valid) };
    if let Some(m) = hnsw.m {
        valid.m = count("spec.collectionDefaults.hnswConfig.m", m, 128)?;
    }
    if let Some(ef_construct) = hnsw.ef_construct {
        valid.ef_construct = count("spec.collectionDefaults.hnswConfig.efConstruct", ef_construct, 4096)?;
    }
    Ok(valid)
}

#[cfg(test)]
mod tests;
