//! Messages of the peer port: inside a region, between regions, and from the operator.
//!
//! ```text
//!   0            4         5
//!   ┌────────────┬─────────┬──────────────────┐
//!   │ length u32 │ version │ postcard: Frame  │
//!   └────────────┴─────────┴──────────────────┘
//!   big-endian, of the transport
//! ```
//!
//! Every message is one-way. A call carries a number, and its answers repeat it. Messages may be lost: each call has a
//! deadline, and repeating it is harmless. A connection delivers a frame at most once, so a change whose only copy was
//! refused did not take place.

use meridian_model::{ClusterId, RegionName, ReplicaId, ShardNumber};
use serde::{Deserialize, Serialize};

use crate::topology::{TopologyAnswer, TopologyCall};

mod delta_log;
mod peer;
mod region;
mod shard;

pub use delta_log::{SeedPage, SeedPoint, TailAnswer, TailCall};
pub use peer::{Call, CallAnswer, DiskNotice, Lead, PeerMessage};
pub use region::{RegionAnswer, RegionCall, RegionMessage};
pub use shard::{MatchQuery, PartBody, ReadDemand, ReadPart, ShardAnswer, ShardCall};

/// Format version, the first byte of every frame.
pub const FRAME_VERSION: u8 = 4;
/// Longest frame in bytes: a request body of 32 MiB as points, and space for names.
pub const FRAME_BYTES: usize = 64 << 20;

/// One replica in its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Its shard.
    pub shard: ShardNumber,
    /// Its id.
    pub replica: ReplicaId,
}

/// The content of a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// First on every connection, in both directions.
    Hello(Hello),
    /// Between regions, after the hello, in both directions: proof of the group key over the connection's keying material.
    Proof([u8; 32]),
    /// Between two replicas of a region.
    Peer(PeerMessage),
    /// Between regions.
    Region(RegionMessage),
    /// Call of the operator: number, call.
    Topology(u64, TopologyCall),
    /// Answer to the operator, under the number of the call.
    TopologyAnswer(u64, TopologyAnswer),
    /// Keeps the connection alive; sent when nothing else was sent for a while.
    Heartbeat,
}

/// The sender of a connection's frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its cluster; a connection to another cluster is refused.
    pub cluster: ClusterId,
    /// Its region.
    pub region: RegionName,
    /// Its replica; absent for the operator, for a pod without a replica, and between regions.
    pub node: Option<NodeId>,
    /// Address of its own peer port, so that the receiver can dial back. Empty between regions.
    pub address: String,
}

/// Why a frame cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No bytes.
    #[error("empty frame")]
    Empty,
    /// A version that this build does not know.
    #[error("frame of format version {found}; this build reads version {FRAME_VERSION}")]
    Version {
        /// The version of the frame.
        found: u8,
    },
    /// Not a message.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// Longer than [`FRAME_BYTES`].
    #[error("frame of {0} bytes; at most {FRAME_BYTES} are taken")]
    TooLong(usize),
}

impl Frame {
    /// Encodes version and message; the transport adds the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FRAME_VERSION]).expect("every message can be encoded")
    }

    /// Decodes version and message.
    ///
    /// # Errors
    /// When `bytes` is empty, longer than [`FRAME_BYTES`], of another version, or not exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (version, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        if bytes.len() > FRAME_BYTES {
            return Err(FrameError::TooLong(bytes.len()));
        }
        if *version != FRAME_VERSION {
            return Err(FrameError::Version { found: *version });
        }
        match postcard::take_from_bytes(body) {
            Ok((frame, [])) => Ok(frame),
            Ok((_, rest)) => Err(FrameError::Malformed(format!("{} bytes too many", rest.len()))),
            Err(fault) => Err(FrameError::Malformed(fault.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
