//! Messages between two replicas of a region.

use std::time::Duration;

use meridian_model::{BehaviorVersion, LogIndex, OriginShard, Statement, Term};

use super::{ShardAnswer, ShardCall, TailAnswer, TailCall, Unsupported};
use crate::topology::{DiskLevel, Member};

/// A message between two replicas of a region.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// A message of the consensus library.
    Raft(Vec<u8>),
    /// The sender leads its shard.
    Lead(Lead),
    /// A call: number, call.
    Call(u64, Call),
    /// An answer, under the number of the call. An open delta log has several.
    Answer(u64, CallAnswer),
    /// From the leader of a shard to its replicas: for each origin shard the newest statement that counts there, with its age.
    Complete(Vec<(OriginShard, Statement, Duration)>),
    /// The sender no longer waits for the answer to its call of this number. A read ends; a write continues.
    Cancel(u64),
    /// To the replicas of the sender's group: how full the sender's disk is.
    Disk(DiskNotice),
}

/// State of a replica's disk, for its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskNotice {
    /// Level of the sender's disk.
    pub level: DiskLevel,
    /// The sender leads, and a quorum of the voters has space: voters without space accept no appends.
    pub quorum_has_space: bool,
    /// The sender transfers its leadership because of its disk.
    pub handing_over: bool,
}

/// Announcement of a leader to every replica of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The term in which it leads.
    pub term: Term,
    /// The members of its group, so that later pods can be dialed.
    pub members: Vec<Member>,
    /// The newest entry that the leader has applied.
    pub applied: LogIndex,
    /// Behavior version of its group.
    pub behavior: BehaviorVersion,
}

/// A call between two replicas of a region.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum Call {
    /// To the shard of the receiver, with the behavior version that the call needs.
    Shard(BehaviorVersion, ShardCall),
    /// On behalf of another region: to the delta log of the receiver's shard.
    Tail(TailCall),
    /// One chunk of a snapshot file.
    Chunk {
        /// Which snapshot.
        snapshot: u64,
        /// Which of its files.
        file: String,
        /// First byte.
        offset: u64,
        /// Largest number of bytes.
        len: u32,
    },
    /// The newest snapshot, if it is new enough.
    Snapshot {
        /// Entries that it must hold.
        at_least: LogIndex,
    },
    /// The receiver's checksum of the state at an entry, because the sender's differs from the one in the log.
    Compare {
        /// After which entry.
        at: LogIndex,
        /// The sender's checksum.
        hash: [u8; 32],
    },
    /// The wall clock of the receiver's machine.
    Clock,
    /// Received only: a call that this build cannot execute. It is answered with [`CallAnswer::Unsupported`].
    Unsupported(Unsupported),
}

impl From<ShardCall> for Call {
    fn from(call: ShardCall) -> Self {
        Self::Shard(call.needs(), call)
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq)]
pub enum CallAnswer {
    /// To `Shard`.
    Shard(ShardAnswer),
    /// To `Tail`.
    Tail(TailAnswer),
    /// To `Chunk`; `None` when the snapshot no longer exists.
    Chunk(Option<Vec<u8>>),
    /// To `Snapshot`: its manifest; `None` when none is new enough.
    Snapshot(Option<Vec<u8>>),
    /// To `Compare`: the entry and the checksum; `None` when it is unknown, or no longer known.
    Compared(LogIndex, Option<[u8; 32]>),
    /// To `Clock`: time since the Unix epoch, as read, before any correction.
    Clock(Duration),
    /// The receiver does not support the call, for this reason; nothing was done.
    Unsupported(String),
    /// Received only: an answer of a kind that this build does not know. The call has failed; what it did is unknown.
    Unknown,
}
