//! What pods say to each other: inside a region, and between regions.
//!
//! A frame on the wire is a length, a format version and one postcard-encoded message. Every message is
//! one-way; a call carries a number, and its answers carry it back. Lost messages are the receiver's and the caller's
//! business: each call has a deadline, and each is harmless when repeated. A connection delivers a frame at most once, so
//! that a change whose only copy was refused did not take place.

use std::time::Duration;

use meridian_model::client::{PointOp, Reply, Request};
use meridian_model::{
    Answer, ClusterId, CollectionDef, CollectionName, CollectionUid, ConditionalChange, Delta, Filter, Hlc, LogIndex,
    OriginShard, Payload, PointId, Position, Query, RegionName, ReplicaId, Seq, ShardNumber, Stamp, Statement,
    TableVersion, Term, Traceparent, Vectors, VersionVector, WriteId,
};
use serde::{Deserialize, Serialize};

use crate::topology::{Member, TopologyAnswer, TopologyCall};

/// Format version that every frame begins with.
pub const FRAME_VERSION: u8 = 4;
/// The largest frame that is taken: a client's body limit of 32 MiB as points, and room for names.
pub const FRAME_BYTES: usize = 64 << 20;

/// One replica in its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Its shard.
    pub shard: ShardNumber,
    /// Its id.
    pub replica: ReplicaId,
}

/// Anything that stands in a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// First on every connection, both ways.
    Hello(Hello),
    /// Between regions, both ways, behind the hello: proof of the group key, over the connection's own keying material.
    Proof([u8; 32]),
    /// Between two replicas of a region.
    Peer(PeerMessage),
    /// Between regions.
    Region(RegionMessage),
    /// From the operator.
    Topology(u64, TopologyCall),
    /// To the operator.
    TopologyAnswer(u64, TopologyAnswer),
    /// The sender is there; sent when nothing else was for a while.
    Heartbeat,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster; another one's is refused.
    pub cluster: ClusterId,
    /// The region.
    pub region: RegionName,
    /// Which replica; absent for the operator, for a pod that is none yet, and between regions.
    pub node: Option<NodeId>,
    /// Where the caller's own peer port is, so that it need not be found twice. Empty between regions.
    pub address: String,
}

/// Between two replicas of a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// For the consensus library.
    Raft(Vec<u8>),
    /// The sender leads its shard.
    Lead(Lead),
    /// A question.
    Call(u64, Call),
    /// An answer; a tail answers more than once.
    Answer(u64, CallAnswer),
    /// From the leader of a shard to its replicas: the newest statements that count there.
    Complete(Vec<(OriginShard, Statement, Duration)>),
    /// The sender no longer waits for the answer to its call of this number: a read is ended, a write goes on.
    Cancel(u64),
    /// To the sender's group: how full its disk is.
    Disk(DiskNotice),
}

/// What a replica tells its group of the space on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskNotice {
    /// Of the sender's disk.
    pub level: DiskLevel,
    /// The sender leads, and a quorum of the voters has space: those without take no appends.
    pub quorum_has_space: bool,
    /// The sender hands the leadership over because of its disk.
    pub handing_over: bool,
}

/// How much space a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum DiskLevel {
    /// Beyond the reserve: all writes.
    #[default]
    Free,
    /// In the reserve of the log: what frees something, or changes the group.
    Reserve,
    /// In the last segments of it: votes, and what the log already holds.
    Exhausted,
}

/// What a leader tells every replica of the region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Since which term.
    pub term: Term,
    /// The group, so that pods that came later are found.
    pub members: Vec<Member>,
    /// The newest entry that the leader has applied.
    pub applied: LogIndex,
}

/// A question between two replicas of a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum Call {
    /// About the shard that the receiver is a replica of.
    Shard(ShardCall),
    /// On behalf of another region: the shard's delta log.
    Tail(TailCall),
    /// One piece of a snapshot's file.
    Chunk {
        /// Which snapshot.
        snapshot: u64,
        /// Which of its files.
        file: String,
        /// From which byte.
        offset: u64,
        /// How many bytes at most.
        len: u32,
    },
    /// The newest snapshot, not older than this.
    Snapshot {
        /// Entries that it must hold.
        at_least: meridian_model::LogIndex,
    },
    /// What was your replica checksum here? This was the sender's, and the log names another.
    Compare {
        /// After which entry.
        at: meridian_model::LogIndex,
        /// The sender's.
        hash: [u8; 32],
    },
    /// What does the wall clock of your machine say?
    Clock,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CallAnswer {
    /// To `Shard`.
    Shard(ShardAnswer),
    /// To `Tail`.
    Tail(TailAnswer),
    /// To `Chunk`; `None` when the sender no longer has that snapshot.
    Chunk(Option<Vec<u8>>),
    /// To `Snapshot`: its manifest, or nothing yet.
    Snapshot(Option<Vec<u8>>),
    /// To `Compare`: where, and what it was; `None` when it is not known, or not any more.
    Compared(meridian_model::LogIndex, Option<[u8; 32]>),
    /// To `Clock`: since the Unix epoch, as read and not as used.
    Clock(Duration),
}

/// A question to a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShardCall {
    /// To the leader: commit these.
    Write {
        /// The client's.
        id: WriteId,
        /// The table by which the gateway chose this shard.
        table: TableVersion,
        /// An entry of the shard that was applied before the write was first sent.
        sent_at: LogIndex,
        /// Where.
        collection: CollectionName,
        /// What.
        ops: Vec<PointOp>,
        /// The request that it goes back to.
        trace: Option<Traceparent>,
    },
    /// To the leader of shard 1: define a collection.
    Create {
        /// The client's.
        id: WriteId,
        /// As of a write.
        sent_at: LogIndex,
        /// What.
        def: CollectionDef,
    },
    /// To the leader: take over a definition that shard 1 made.
    Learn {
        /// What shard 1 calls it.
        uid: CollectionUid,
        /// What it is.
        def: CollectionDef,
    },
    /// To the leader: end the collection of this name, if it is not younger than `upto`.
    Drop {
        /// The client's.
        id: WriteId,
        /// As of a write.
        sent_at: LogIndex,
        /// Which.
        name: CollectionName,
        /// The youngest that is meant; absent for shard 1, which decides.
        upto: Option<CollectionUid>,
    },
    /// To the leader of shard 1: what stands under this name?
    Resolve(CollectionName),
    /// To any replica.
    Read {
        /// Where.
        collection: CollectionName,
        /// What.
        query: Query,
        /// How fresh.
        demand: ReadDemand,
    },
    /// To any replica: all collections.
    List(ReadDemand),
    /// To any replica: this shard's part of a collection.
    Describe(CollectionName, ReadDemand),
    /// To the leader of shard 1: what collections are there?
    Definitions,
    /// To the leader: are these positions applied and published? Kept open for a while when they are not.
    Await(VersionVector),
    /// To any replica: points that match, each with the stamp that tells its version.
    Match(MatchQuery, ReadDemand),
    /// To the leader: commit these changes, each of which takes place only if its point is as it was read.
    ConditionalWrite {
        /// Of the operation.
        id: WriteId,
        /// Which of its writes.
        part: u32,
        /// The table by which the gateway chose this shard.
        table: TableVersion,
        /// Where.
        collection: CollectionUid,
        /// The newest entry that the read had seen.
        read_at: LogIndex,
        /// What.
        changes: Vec<ConditionalChange>,
        /// The request that it goes back to.
        trace: Option<Traceparent>,
    },
}

/// Points that match a filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatchQuery {
    /// Where; a collection that is not here has no points.
    pub collection: CollectionUid,
    /// The table by which the gateway asks this shard; the state must have it.
    pub table: TableVersion,
    /// Which points.
    pub filter: Filter,
    /// The first id that may come.
    pub from: Option<PointId>,
    /// How many at most.
    pub limit: usize,
}

/// What a read must reflect.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReadDemand {
    /// Every write that the region acknowledged before the call arrived.
    pub index: bool,
    /// Every write that was acknowledged anywhere longer ago than this when the call arrived.
    pub max_age: Option<Duration>,
    /// These positions.
    pub covers: VersionVector,
    /// How long to wait until it does. A read without demands never waits.
    pub wait: Duration,
    /// Time left for the answer when the call is sent; then nobody waits for it any more.
    pub left: Duration,
}

/// The answer to a [`ShardCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShardAnswer {
    /// To `Write`, `Learn`: committed; its last sequence, and the positions it brought.
    Written(Seq, VersionVector),
    /// To `Create`.
    Created(CollectionUid, VersionVector),
    /// To `Create`: one of that name exists.
    Exists,
    /// To `Drop`: what was dropped, or the youngest that could have been meant.
    Dropped {
        /// Whether there was one.
        existed: bool,
        /// For the other shards.
        upto: CollectionUid,
        /// The positions it brought.
        covers: VersionVector,
    },
    /// To `Resolve`.
    Resolved(Option<(CollectionUid, CollectionDef)>),
    /// To `Read`, `List` and `Describe`.
    Part(ReadPart),
    /// No such collection.
    NoCollection,
    /// The request is wrong, and how.
    Wrong(String),
    /// Ask the leader. Nothing was proposed here.
    NotLeader(Option<ReplicaId>),
    /// The gateway's table is not this shard's: the bucket is elsewhere.
    NotOwner(TableVersion),
    /// Not now: the gateway tries again until its deadline.
    Busy(String),
    /// The disk is full.
    Full,
    /// To `Definitions`: every collection that stands, and the largest uid given. One of up to that which is not among
    /// them was dropped.
    Definitions {
        /// The largest uid.
        largest: CollectionUid,
        /// The collections.
        standing: Vec<(CollectionUid, CollectionDef)>,
    },
    /// To `Await`.
    Reached(bool),
    /// To `ConditionalWrite`: committed.
    Conditional {
        /// Its last sequence.
        last: Seq,
        /// The positions it brought.
        covers: VersionVector,
        /// Places, ascending, of changes whose points are to be read and tried again. All others are settled.
        retry: Vec<u32>,
    },
    /// To a change: whether it was committed before is not known any more; nothing was done now.
    Forgotten,
    /// More is asked of the replica than it can do: nothing was done, and the client is to slow down.
    Overloaded(String),
    /// It was proposed, and the replica stepped down before it was committed: only the next leader can say what became of it.
    SteppedDown,
}

impl ShardAnswer {
    /// Whether it says that nothing was proposed for this copy of the call.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Exists | Self::NoCollection | Self::Wrong(_) | Self::NotLeader(_) | Self::NotOwner(_) => true,
            Self::Busy(_) | Self::Full | Self::Overloaded(_) => true,
            Self::Written(..) | Self::Created(..) | Self::Dropped { .. } | Self::Conditional { .. } => false,
            Self::Resolved(_) | Self::Part(_) | Self::Definitions { .. } | Self::Reached(_) => false,
            Self::Forgotten | Self::SteppedDown => false,
        }
    }
}

impl ShardCall {
    /// Tells a change that may be repeated which entry of the shard was applied before it was first sent. Of one that depends
    /// on what was read, the read says so.
    #[must_use]
    pub fn first_sent_at(mut self, at: LogIndex) -> Self {
        if let Self::Write { sent_at, .. } | Self::Create { sent_at, .. } | Self::Drop { sent_at, .. } = &mut self {
            *sent_at = at;
        }
        self
    }

    /// Whether it proposes what a client asked for. What only prepares that does not count.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Write { .. } | Self::ConditionalWrite { .. } | Self::Create { .. } | Self::Drop { .. } => true,
            Self::Learn { .. } | Self::Resolve(_) | Self::Definitions | Self::Await(_) => false,
            Self::Read { .. } | Self::Match(..) | Self::List(_) | Self::Describe(..) => false,
        }
    }

    /// Tells a read how much time is left for its answer. Calls of other kinds have none.
    #[must_use]
    pub fn with_time_left(mut self, left: Duration) -> Self {
        if let Self::Read { demand, .. } | Self::Match(_, demand) | Self::List(demand) | Self::Describe(_, demand) =
            &mut self
        {
            demand.left = left;
        }
        self
    }

    /// Whether it changes nothing, so that it can be ended at any time.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Match(..) | Self::List(_) | Self::Describe(..))
    }
}

/// One shard's part of a read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadPart {
    /// What it holds; `None` when the collection is not there.
    pub body: Option<PartBody>,
    /// Whether the demand is kept.
    pub kept: bool,
    /// Whether it took waiting.
    pub waited: bool,
    /// Upper bound of the age of what it may miss, when it was answered; [`Duration::MAX`] when unknown.
    pub age: Duration,
    /// Time from the arrival of the call to its answer.
    pub took: Duration,
    /// What is reflected.
    pub covers: VersionVector,
}

/// What one shard holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PartBody {
    /// Of a read.
    Answer {
        /// What was found.
        answer: Answer,
        /// Of a search: smaller scores are nearer.
        smallest_first: bool,
    },
    /// The query does not fit the collection.
    Wrong(String),
    /// Of a list.
    Collections(Vec<CollectionDef>),
    /// Of a describe.
    Collection {
        /// Its uid.
        uid: CollectionUid,
        /// What it is.
        def: CollectionDef,
        /// Live points.
        points: u64,
        /// Vectors in a graph.
        indexed: u64,
    },
    /// The read met a fault of ours.
    Failed(String),
    /// Of a match.
    Matched {
        /// In the order of their ids.
        points: Vec<(PointId, Stamp)>,
        /// Where the next page begins, if there is one.
        next: Option<PointId>,
        /// The newest entry that was seen.
        read_at: LogIndex,
    },
    /// Of a match: the gateway's table is not this shard's.
    NotOwner(TableVersion),
}

/// Between regions: any pod takes it and relays to the right shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum RegionMessage {
    /// A question.
    Call(u64, RegionCall),
    /// An answer; a tail answers more than once.
    Answer(u64, RegionAnswer),
    /// The sender no longer waits for the answer to its call of this number: a read is ended, a write goes on.
    Cancel(u64),
}

/// A question to another region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum RegionCall {
    /// A client's request that must be answered there: its one hop is spent.
    Ask(Request),
    /// A shard's delta log.
    Tail(ShardNumber, TailCall),
}

/// The answer to a [`RegionCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegionAnswer {
    /// To `Ask`.
    Reply(Reply),
    /// To `Tail`.
    Tail(TailAnswer),
}

/// About a shard's delta log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TailCall {
    /// Send what comes after a position, as it comes, while there is credit.
    Open {
        /// The newest position that the caller has.
        after: Position,
        /// Bytes of records that may be under way.
        credit: u64,
    },
    /// Under the same number as the open: so many bytes more.
    Credit(u64),
    /// Under the same number as the open: no more.
    Close,
    /// The live points themselves, for a caller whose position the log no longer holds.
    Seed {
        /// Where the first page stood; absent for the first page.
        at: Option<Position>,
        /// Where the page before ended.
        after: Option<(CollectionUid, PointId)>,
    },
}

/// The answer to a [`TailCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TailAnswer {
    /// The next records, in order.
    Records {
        /// Deltas from the one after the last sent.
        deltas: Vec<Delta>,
        /// The newest position.
        at: Position,
        /// What the leader states, of a position up to `at`; absent when there is nothing new.
        complete: Option<Statement>,
        /// How many shards the origin region has.
        origin_shards: u16,
    },
    /// The log no longer holds what comes after the position asked for.
    Gone,
    /// This pod cannot serve it now: ask again.
    Unavailable,
    /// A page of live points.
    Seed(SeedPage),
}

/// A page of live points, in the order of collection and id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPage {
    /// The position that the whole seed brings the caller to.
    pub at: Position,
    /// The position at which this page was read, not behind `at`.
    pub read_at: Position,
    /// The largest uid that the origin had given by then.
    pub largest_uid: CollectionUid,
    /// The collections.
    pub collections: Vec<(CollectionUid, CollectionDef)>,
    /// The points.
    pub points: Vec<SeedPoint>,
    /// Where the next page begins; absent after the last.
    pub next: Option<(CollectionUid, PointId)>,
    /// How many shards the origin region has.
    pub origin_shards: u16,
}

/// One live point with the stamp that put it there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPoint {
    /// Where.
    pub collection: CollectionUid,
    /// Which.
    pub point: PointId,
    /// Its vectors.
    pub vectors: Vectors,
    /// What is attached.
    pub payload: Payload,
    /// When it was stamped.
    pub committed_at: Hlc,
    /// Where in the origin's log.
    pub position: Position,
}

/// A frame that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No bytes.
    #[error("empty frame")]
    Empty,
    /// Of a version that this build does not know.
    #[error("frame of format version {found}; this build reads version {FRAME_VERSION}")]
    Version {
        /// What stood there.
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
    /// The version and the message; the length is the transport's.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FRAME_VERSION]).expect("every message can be encoded")
    }

    /// # Errors
    /// When the bytes are not one whole frame of a known version.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lead() -> Frame {
        let members = vec![Member { replica: ReplicaId(7), address: "a:8082".into() }];
        Frame::Peer(PeerMessage::Lead(Lead { term: Term(3), members, applied: LogIndex(5) }))
    }

    #[test]
    fn version_four_stays_as_it_is() {
        let golden = [4, 2, 1, 3, 1, 7, 6, b'a', b':', b'8', b'0', b'8', b'2', 5];
        assert_eq!(lead().encode(), golden);
        assert_eq!(Frame::decode(&golden), Ok(lead()));
    }

    #[test]
    fn a_frame_of_another_version_is_refused_by_name() {
        let mut bytes = lead().encode();
        bytes[0] = 9;
        assert_eq!(
            Frame::decode(&bytes).unwrap_err().to_string(),
            "frame of format version 9; this build reads version 4"
        );
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused() {
        let bytes = lead().encode();
        for end in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..end]).is_err());
        }
        assert!(Frame::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(&[&[FRAME_VERSION], &bytes[..]].concat());
        }
    }
}
