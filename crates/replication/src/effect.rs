//! What a follower or a server wants done.

use meridian_model::{OriginShard, Seq, Statement, Topic};
use meridian_proto::frame::{NodeId, Peer, PeerMessage, RegionMessage};
use meridian_shard::SourcePosition;

/// Something is to be done. Effects are performed in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// To a replica of this region.
    Send(NodeId, PeerMessage),
    /// To another region, or on a connection that it opened.
    SendRegion(Peer, RegionMessage),
    /// A broker is to be read.
    Follow {
        /// Number of the call.
        call: u64,
        /// The origin shard of the records.
        origin: OriginShard,
        /// The topic that holds them.
        topic: Topic,
        /// From the record behind this place; from the oldest when it is none of a broker, or gone.
        after: SourcePosition,
        /// Bytes, counted by [`crate::record_bytes`], that may be handed over.
        credit: u64,
    },
    /// So many bytes more of what is read from a broker.
    FollowCredit {
        /// Number of the call.
        call: u64,
        /// Bytes.
        bytes: u64,
    },
    /// A broker is not read any more under this number.
    Unfollow {
        /// Number of the call.
        call: u64,
    },
    /// A record could not be taken, and an operator should look at it.
    Poisoned {
        /// The origin shard of the log.
        origin: OriginShard,
        /// The record.
        poison: Poison,
    },
    /// The origin states how complete its log is.
    Statement {
        /// The origin shard.
        origin: OriginShard,
        /// Its statement.
        statement: Statement,
    },
    /// Statements came: reads may be fresh enough.
    RecheckReads,
}

/// A record of a followed log that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Where it stands.
    pub at: SourcePosition,
    /// The sequence that it claims, if it can be told.
    pub seq: Option<Seq>,
    /// What is wrong with it.
    pub fault: String,
}

impl Poison {
    /// What a person needs to find it; `topic` is the one that is read.
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
