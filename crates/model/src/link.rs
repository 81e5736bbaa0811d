//! How a region follows another.

use serde::{Deserialize, Serialize};

use crate::RegionName;

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
