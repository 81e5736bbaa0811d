//! How a region follows another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{AddressError, Addresses, RegionName, TopicName};

/// Links that one region may have.
pub const MAX_LINKS: usize = 64;

/// One region that this one follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which region.
    pub source: RegionName,
    /// How its deltas come.
    pub transport: Transport,
    /// Nothing is taken in for now: staleness grows, the position is kept.
    pub paused: bool,
}

/// How deltas come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Streamed from the source's own log.
    Direct,
    /// Read from a broker: the source's, or one to which its topic is mirrored.
    Kafka(Topic),
}

/// A topic and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// `host:port`, several with commas between.
    pub bootstrap_servers: String,
    /// Its name at that broker; MirrorMaker 2 puts the source cluster's alias in front.
    pub name: String,
}

impl Link {
    /// The topic that is read; none when the source's own log is.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        match &self.transport {
            Transport::Direct => None,
            Transport::Kafka(topic) => Some(topic),
        }
    }
}

/// Why a region cannot have these links. `at` is the place of the link in the list, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinksError {
    /// More than [`MAX_LINKS`].
    #[error("links: {0} of them: at most {MAX_LINKS} can be followed")]
    TooMany(usize),
    /// The source is the region itself.
    #[error("links[{at}]: a region does not follow itself")]
    OwnRegion {
        /// Which link.
        at: usize,
    },
    /// Two links have one source.
    #[error("links[{at}]: source {region} stands twice")]
    Duplicate {
        /// The second of the two.
        at: usize,
        /// The source.
        region: RegionName,
    },
    /// The servers are no addresses, or the topic is none.
    #[error("links[{at}].transport.kafka.{key}: {fault}")]
    Topic {
        /// Which link.
        at: usize,
        /// The malformed field.
        key: &'static str,
        /// Why it is refused.
        fault: AddressError,
    },
}

/// Checks the links of `region`: at most [`MAX_LINKS`], each source once and never `region`, and well-formed topics.
///
/// # Errors
/// Names the link and what is wrong with it.
pub fn check_links(region: &RegionName, links: &[Link]) -> Result<(), LinksError> {
    if links.len() > MAX_LINKS {
        return Err(LinksError::TooMany(links.len()));
    }
    let mut seen = BTreeSet::new();
    for (at, link) in links.iter().enumerate() {
        let source = &link.source;
        if source == region {
            return Err(LinksError::OwnRegion { at });
        }
        if !seen.insert(source) {
            return Err(LinksError::Duplicate { at, region: source.clone() });
        }
        if let Some(Topic { bootstrap_servers, name }) = link.topic() {
            let in_field = |key| move |fault| LinksError::Topic { at, key, fault };
            Addresses::new(bootstrap_servers).map_err(in_field("bootstrap_servers"))?;
            TopicName::new(name).map_err(in_field("name"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_cannot_be_followed_are_refused_by_name() {
        let region = |name: &str| RegionName::new(name).unwrap();
        let direct = |source: &str| Link { source: region(source), transport: Transport::Direct, paused: false };
        let kafka = |servers: &str, name: &str| {
            let topic = Topic { bootstrap_servers: servers.into(), name: name.into() };
            Link { transport: Transport::Kafka(topic), ..direct("us-east") }
        };
        let check = |links: &[Link], says: &str| {
            let fault = check_links(&region("eu-west"), links).map_err(|fault| fault.to_string()).err();
            assert_eq!(fault.as_deref(), (!says.is_empty()).then_some(says));
        };
        check(&[], "");
        check(&[kafka("a:9092,[::1]:9092", "us-east.vector-deltas"), direct("ap")], "");
        check(&[direct("ap"), direct("eu-west")], "links[1]: a region does not follow itself");
        check(&[direct("ap"), direct("ap")], "links[1]: source ap stands twice");
        check(&[kafka("a", "t")], "links[0].transport.kafka.bootstrap_servers: \"a\" is no host:port");
        let topic = "\"a/b\" is no topic: 1 to 249 of letters, digits, '.', '_', '-'";
        check(&[kafka("a:1", "a/b")], &format!("links[0].transport.kafka.name: {topic}"));
        let many: Vec<Link> = (0..=MAX_LINKS).map(|at| direct(&format!("r{at}"))).collect();
        check(&many, "links: 65 of them: at most 64 can be followed");
    }
}
