//! A link behind the door.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use meridian_crd::{KafkaVia, LinkState, MirrorMaker2Mode, ReplicationLink};
use meridian_model::{Addresses, Link, RegionName, Topic, TopicName, Transport};

use super::text::{addresses, label, topic};
use super::{Refusal, ValidCluster, refuse, region};

/// The topic where none is named.
const DEFAULT_TOPIC: &str = "vector-deltas";
/// Longest name of a link: what it runs is named after it.
const NAME_BYTES: usize = 50;

/// A topic and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Its brokers.
    pub bootstrap_servers: Addresses,
    /// The topic.
    pub topic: TopicName,
}

impl Kafka {
    /// `servers` and `name` are the paths of the two fields.
    pub(super) fn parse(
        (servers, bootstrap_servers): (&'static str, &str),
        (name, text): (&'static str, Option<&str>),
    ) -> Result<Self, Refusal> {
        let topic = topic(name, text.unwrap_or(DEFAULT_TOPIC))?;
        Ok(Self { bootstrap_servers: addresses(servers, bootstrap_servers)?, topic })
    }
}

/// A link that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidLink {
    /// Its name.
    pub name: String,
    /// Its owner reference; absent offline.
    pub owner: Option<OwnerReference>,
    /// What is followed.
    pub source: RegionName,
    /// It is followed now.
    pub running: bool,
    /// The source region's topic; none when the source's own log is streamed.
    pub kafka: Option<Kafka>,
    /// Who copies that topic to this region; none when it is read where it lies.
    pub mirror: Option<MirrorMaker>,
}

/// Who copies the source region's topic, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorMaker {
    /// Who runs it.
    pub mode: MirrorMaker2Mode,
    /// The copy, as the data plane reads it.
    pub copy: Kafka,
}

impl ValidLink {
    /// Parses a link of `cluster`.
    ///
    /// # Errors
    /// When it cannot be carried out.
    pub fn parse(link: &ReplicationLink, cluster: &ValidCluster) -> Result<Self, Refusal> {
        let spec = &link.spec;
        let name = label("metadata.name", link.metadata.name.as_deref().unwrap_or_default(), NAME_BYTES)?;
        let source = region("spec.source.region", &spec.source.region)?;
        if source == cluster.region {
            return refuse("spec.source.region", "a region does not follow itself");
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
                    // MirrorMaker 2 puts the source's alias in front; the alias is the region.
                    topic: topic("spec.transport.kafka.topic", &format!("{source}.{}", kafka.topic))?,
                },
            }),
            (None, _) if !via_mirror => None,
            _ => return refuse("spec.mirrorMaker2", "goes with transport.kafka.via Mirror: set both or neither"),
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

    /// What the data plane is told.
    #[must_use]
    pub fn order(&self) -> Link {
        let topic = |kafka: &Kafka| Topic {
            bootstrap_servers: kafka.bootstrap_servers.to_string(),
            name: kafka.topic.to_string(),
        };
        // The copy, where there is one.
        let read = self.mirror.as_ref().map(|mirror| &mirror.copy).or(self.kafka.as_ref());
        Link {
            source: self.source.clone(),
            transport: read.map_or(Transport::Direct, |kafka| Transport::Kafka(topic(kafka))),
            paused: !self.running,
        }
    }

    /// Of several links with one source the oldest counts; this one is not it.
    #[must_use]
    pub fn is_superseded(&self, cluster: &ValidCluster) -> bool {
        cluster.links.iter().any(|other| other.source == self.source && other.name != self.name)
    }
}

/// The links of `cluster` that can be carried out, one for each source, in the order of the sources.
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
