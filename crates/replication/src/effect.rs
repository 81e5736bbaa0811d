//! Output of a follower or a server.

use meridian_model::{OriginShard, Seq, Statement, Topic};
use meridian_proto::frame::{NodeId, Peer, PeerMessage, RegionMessage};
use meridian_shard::SourcePosition;

/// An action for the caller. Effects are performed in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Sends a message to a replica of this region.
    Send(NodeId, PeerMessage),
    /// Sends a message to another region, or on a connection that it opened.
    SendRegion(Peer, RegionMessage),
    /// Starts reading a topic.
    Follow {
        /// Number of the call.
        call: u64,
        /// The origin shard of the records.
        origin: OriginShard,
        /// The topic that holds them.
        topic: Topic,
        /// Reads from the record after this position, or from the oldest record if the position is not in the topic.
        after: SourcePosition,
        /// Credit in bytes, counted by [`crate::record_bytes`].
        credit: u64,
    },
    /// Grants more credit to a topic reader.
    FollowCredit {
        /// Number of the call.
        call: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Stops the topic reader of this call.
    Unfollow {
        /// Number of the call.
        call: u64,
    },
    /// Reports a record that could not be applied, for an operator.
    Poisoned {
        /// The origin shard of the log.
        origin: OriginShard,
        /// The record.
        poison: Poison,
    },
    /// Forwards a completeness statement of the origin.
    Statement {
        /// The origin shard.
        origin: OriginShard,
        /// Its statement.
        statement: Statement,
    },
    /// Statements were received: rechecks reads that wait for freshness.
    RecheckReads,
}

/// A record of a followed log that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Position of the record.
    pub at: SourcePosition,
    /// Sequence in the record; `None` if it cannot be decoded.
    pub seq: Option<Seq>,
    /// Reason, for people.
    pub fault: String,
}

impl Poison {
    /// Describes position, sequence and reason for an operator; `topic` is the topic being read.
    #[must_use]
    pub fn describe(&self, topic: Option<&Topic>) -> String {
        let place = match (self.at, topic) {
            (SourcePosition::Kafka { partition, offset }, Some(Topic { name, .. })) => {
                format!("topic {name}, partition {partition}, offset {offset}, ")
            }
            _ => String::new(),
        };
        let seq = self.seq.map_or_else(|| "unknown".to_owned(), |seq| seq.to_string());
        format!("{place}sequence {seq}: {}", self.fault)
    }
}
