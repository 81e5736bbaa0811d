//! Messages of the peer port: inside a region, between regions, and from the operator.
//!
//! ```text
//!   0            4        5
//!   ┌────────────┬────────┬───────────────┐
//!   │ length u32 │ format │ tagged: Frame │
//!   └────────────┴────────┴───────────────┘
//!   big-endian, of the transport
//! ```
//!
//! The format byte never changes as long as messages use tagged fields; `tagged` draws them. A build skips fields that it does
//! not know. A message of an unknown kind is ignored, an unknown call is answered with a refusal, an unknown answer fails its
//! call: none of them ends the connection. An unknown condition or change *inside* a request refuses that request, because
//! executing the rest of it would mean something else. Requests therefore carry the behavior version that they need.
//!
//! Every message is one-way. A call carries a number, and its answers repeat it. Messages may be lost: each call has a
//! deadline, and repeating it is harmless. A connection delivers a frame at most once, so a change whose only copy was
//! refused did not take place.

use meridian_model::{BehaviorVersion, ReplicaId, ShardNumber};

use crate::tagged;
use crate::topology::{TopologyAnswer, TopologyCall};

mod delta_log;
mod hello;
mod party;
mod peer;
mod region;
mod shard;

pub use delta_log::{SeedPage, SeedPoint, TailAnswer, TailCall};
pub use hello::{Build, Hello, NoCommonProtocol, Protocols};
pub use party::{CallNumbers, Peer};
pub use peer::{Call, CallAnswer, DiskNotice, Lead, PeerMessage};
pub use region::{RegionAnswer, RegionCall, RegionMessage};
pub use shard::{MatchQuery, PartBody, ReadDemand, ReadPart, ShardAnswer, ShardCall};

/// The first byte of every frame: messages of tagged fields. Builds before them sent 1 to 4.
pub const FRAME_FORMAT: u8 = 5;
/// Longest frame in bytes: a request body of 32 MiB as points, and space for names.
pub const FRAME_BYTES: usize = 64 << 20;
/// The release of this build.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// One replica in its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Its shard.
    pub shard: ShardNumber,
    /// Its id.
    pub replica: ReplicaId,
}

/// The content of a frame.
#[derive(Debug, Clone, PartialEq)]
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
    /// Received only: a call of the operator, with its number, that this build cannot execute. It is answered with
    /// [`TopologyAnswer::Refused`].
    TopologyUnsupported(u64, Unsupported),
    /// Received only: a message of a kind that this build does not know. It is ignored.
    Unknown,
}

/// Why this build cannot execute a call that it received. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// It is, or contains, something of a kind that this build does not know.
    #[error("not supported by release {RELEASE}: it does not know this kind of {0}")]
    Kind(&'static str),
    /// It needs a behavior version that this build does not know.
    #[error("the request needs behavior version {0}; release {RELEASE} knows versions up to {newest}", newest = BehaviorVersion::newest())]
    Version(BehaviorVersion),
}

/// Why a frame cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No bytes.
    #[error("empty frame")]
    Empty,
    /// A format that this build does not know.
    #[error("frame of format {found}; release {RELEASE} reads format {FRAME_FORMAT}")]
    Format {
        /// The format of the frame.
        found: u8,
    },
    /// Not a message; names the field.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// Longer than [`FRAME_BYTES`].
    #[error("frame of {0} bytes; at most {FRAME_BYTES} are taken")]
    TooLong(usize),
}

impl Frame {
    /// Encodes format and message; the transport adds the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        tagged::encode(self)
    }

    /// Decodes format and message.
    ///
    /// # Errors
    /// When `bytes` is empty, longer than [`FRAME_BYTES`], of another format, or not a message. Messages of unknown kinds are no
    /// errors: they are decoded to values that say so.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (format, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        if bytes.len() > FRAME_BYTES {
            return Err(FrameError::TooLong(bytes.len()));
        }
        if *format != FRAME_FORMAT {
            return Err(FrameError::Format { found: *format });
        }
        tagged::decode(body).map_err(FrameError::Malformed)
    }
}

#[cfg(test)]
mod tests;
