//! Parsed links.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use meridian_crd::{KafkaVia, LinkState, MirrorMaker2Mode, ReplicationLink};
use meridian_model::{Addresses, Link, RegionName, Topic, TopicName, Transport};

use super::text::{addresses, label, topic};
use super::{Refusal, ValidCluster, refuse, region};

/// The topic if the spec names none.
const DEFAULT_TOPIC: &str = "vector-deltas";
/// Longest name of a link, in bytes: names of its objects contain it.
const NAME_BYTES: usize = 50;

/// A topic and its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Its brokers.
    pub bootstrap_servers: Addresses,
    /// The topic.
    pub topic: TopicName,
}

impl Kafka {
    /// `servers` and `name`: paths of the two fields.
    pub(super) fn parse(
        (servers, bootstrap_servers): (&'static str, &str),
        (name, text): (&'static str, Option<&str>),
    ) -> Result<Self, Refusal> {
        let topic = topic(name, text.unwrap_or(DEFAULT_TOPIC))?;
        Ok(Self { bootstrap_servers: addresses(servers, bootstrap_servers)?, topic })
    }
}

/// A valid link.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidLink {
    /// Its name.
    pub name: String,
    /// Its owner reference; absent offline.
    pub owner: Option<OwnerReference>,
    /// The source region.
    pub source: RegionName,
    /// The link is not paused.
    pub running: bool,
    /// The source region's topic; `None` if the link reads the source's log directly.
    pub kafka: Option<Kafka>,
    /// The copy of that topic in this region; `None` if the link reads the original.
    pub mirror: Option<MirrorMaker>,
}

/// Mirroring of the source region's topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorMaker {
    /// The way to run MirrorMaker 2.
    pub mode: MirrorMaker2Mode,
    /// The copy, as the data plane reads it.
    pub copy: Kafka,
}

impl ValidLink {
    /// Parses a link of `cluster`.
    ///
    /// # Errors
    /// A [`Refusal`] with the first invalid field.
    pub fn parse(link: &ReplicationLink, cluster: &ValidCluster) -> Result<Self, Refusal> {
        let spec = &link.spec;
        let name = label("metadata.name", link.metadata.name.as_deref().unwrap_or_default(), NAME_BYTES)?;
        let source = region("spec.source.region", &spec.source.region)?;
        if source == cluster.region {
            return refuse("spec.source.region", "must not be the cluster's own region");
        }
        let known = cluster.group.as_ref().is_some_and(|group| group.regions.iter().any(|r| r.name == source));
        if !known {
            return refuse(
                "spec.source.region",
                format!("{source} is not in replicationGroup.regions of {}", cluster.name),
            );
        }
        let kafka = match &spec.transport.kafka {
            Some(kafka) => Some(Kafka::parse(
                ("spec.transport.kafka.bootstrapServers", &kafka.bootstrap_servers),
                ("spec.transport.kafka.topic", kafka.topic.as_deref()),
            )?),
            None => None,
        };
        let via_mirror = spec.transport.kafka.as_ref().is_some_and(|kafka| kafka.via == KafkaVia::Mirror);
        let mirror = match (&spec.mirror_maker2, &kafka) {
            (Some(mirror), Some(kafka)) if via_mirror => Some(MirrorMaker {
                mode: mirror.mode,
                copy: Kafka {
                    bootstrap_servers: addresses("spec.mirrorMaker2.bootstrapServers", &mirror.bootstrap_servers)?,
                    // MirrorMaker 2 prefixes the topic with the source's alias, which is the region.
                    topic: topic("spec.transport.kafka.topic", &format!("{source}.{}", kafka.topic))?,
                },
            }),
            (None, _) if !via_mirror => None,
            _ => return refuse("spec.mirrorMaker2", "must be set exactly if transport.kafka.via is Mirror"),
        };
        if kafka.is_some() == spec.transport.direct.is_some() {
            return refuse("spec.transport", "must be exactly one of direct and kafka");
        }
        Ok(Self {
            name,
            owner: link.controller_owner_ref(&()),
            source,
            running: spec.state == LinkState::Running,
            kafka,
            mirror,
        })
    }

    /// The link as the operator sends it to the data plane.
    #[must_use]
    pub fn order(&self) -> Link {
        let topic = |kafka: &Kafka| Topic {
            bootstrap_servers: kafka.bootstrap_servers.to_string(),
            name: kafka.topic.to_string(),
        };
        // The copy, if there is one.
        let read = self.mirror.as_ref().map(|mirror| &mirror.copy).or(self.kafka.as_ref());
        Link {
            source: self.source.clone(),
            transport: read.map_or(Transport::Direct, |kafka| Transport::Kafka(topic(kafka))),
            paused: !self.running,
        }
    }

    /// Returns true if another, older link has the same source.
    #[must_use]
    pub fn is_superseded(&self, cluster: &ValidCluster) -> bool {
        cluster.links.iter().any(|other| other.source == self.source && other.name != self.name)
    }
}

/// The valid links of `cluster`, one for each source, sorted by source.
pub(super) fn accepted(cluster: &ValidCluster, links: &[ReplicationLink]) -> Vec<ValidLink> {
    let mut links: Vec<&ReplicationLink> = links
        .iter()
        .filter(|link| link.spec.cluster_ref.name == cluster.name && link.metadata.deletion_timestamp.is_none())
        .collect();
    links.sort_by_key(|link| (link.metadata.creation_timestamp.clone(), link.metadata.name.clone()));
    let mut accepted: Vec<ValidLink> = Vec::new();
    for valid in links.into_iter().filter_map(|link| ValidLink::parse(link, cluster).ok()) {
        if accepted.iter().all(|other| other.source != valid.source) {
            accepted.push(valid);
        }
    }
    accepted.sort_by(|a, b| a.source.cmp(&b.source));
    accepted
}
