//! Calls of a gateway to one shard, and their answers.

use std::time::Duration;

use meridian_model::client::PointOp;
use meridian_model::{
    Answer, BehaviorVersion, CollectionDef, CollectionName, CollectionUid, ConditionalChange, Filter, LogIndex,
    PointId, Query, ReplicaId, RequestIndexes, Seq, Stamp, TableVersion, Traceparent, VersionVector, WriteId,
};

/// A call to a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum ShardCall {
    /// To the leader: commit these changes.
    Write {
        /// The client's id of the write.
        id: WriteId,
        /// Version of the bucket table by which the gateway chose this shard.
        table: TableVersion,
        /// An entry of the shard that was applied before the write was first sent.
        sent_at: LogIndex,
        /// The collection of the points.
        collection: CollectionName,
        /// The changes.
        ops: Vec<PointOp>,
        /// Where each change stands in the client's request.
        indexes: RequestIndexes,
        /// The trace of the request.
        trace: Option<Traceparent>,
    },
    /// To the leader of shard 1: define a collection.
    Create {
        /// The client's id of the change.
        id: WriteId,
        /// As in `Write`.
        sent_at: LogIndex,
        /// The definition.
        def: CollectionDef,
    },
    /// To the leader of another shard: adopt a definition that shard 1 has committed.
    Learn {
        /// The uid assigned by shard 1.
        uid: CollectionUid,
        /// The definition.
        def: CollectionDef,
    },
    /// To the leader: drop the collection of this name, unless it is younger than `upto`.
    Drop {
        /// The client's id of the change.
        id: WriteId,
        /// As in `Write`.
        sent_at: LogIndex,
        /// The collection.
        name: CollectionName,
        /// The youngest uid that is meant; absent for shard 1, which decides.
        upto: Option<CollectionUid>,
    },
    /// To the leader of shard 1: the collection of this name.
    Resolve(CollectionName),
    /// To any replica: read points.
    Read {
        /// The collection of the points.
        collection: CollectionName,
        /// The query.
        query: Query,
        /// How fresh the answer must be.
        demand: ReadDemand,
    },
    /// To any replica: all collections.
    List(ReadDemand),
    /// To any replica: this shard's part of a collection.
    Describe(CollectionName, ReadDemand),
    /// To the leader of shard 1: all collections with their uids.
    Definitions,
    /// To the leader: whether these positions are applied and published. The leader waits a while until they are.
    Await(VersionVector),
    /// To any replica: points that match, each with the stamp of its version.
    Match(MatchQuery, ReadDemand),
    /// To the leader: commit these changes, each only if its point has not changed since it was read.
    ConditionalWrite {
        /// Id of the operation.
        id: WriteId,
        /// Number of this write in the operation.
        part: u32,
        /// Version of the bucket table by which the gateway chose this shard.
        table: TableVersion,
        /// The collection of the points.
        collection: CollectionUid,
        /// The newest entry that the read had seen.
        read_at: LogIndex,
        /// The changes.
        changes: Vec<ConditionalChange>,
        /// The trace of the request.
        trace: Option<Traceparent>,
    },
}

/// A page of the points that match a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchQuery {
    /// The collection; one that the shard does not have has no points.
    pub collection: CollectionUid,
    /// Version of the bucket table by which the gateway chose this shard; the state must have the same one.
    pub table: TableVersion,
    /// The filter.
    pub filter: Filter,
    /// Smallest id of the page.
    pub from: Option<PointId>,
    /// Largest number of points.
    pub limit: usize,
}

/// Freshness of a read at one shard. A read without demands never waits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadDemand {
    /// Reflect every write that the region acknowledged before the call arrived.
    pub index: bool,
    /// Reflect every write acknowledged in any region longer ago than this when the call arrived.
    pub max_age: Option<Duration>,
    /// Reflect these positions.
    pub covers: VersionVector,
    /// How long to wait until the demand is met.
    pub wait: Duration,
    /// Time left for the answer when the call is sent; after it the caller no longer waits.
    pub left: Duration,
}

/// The answer to a [`ShardCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum ShardAnswer {
    /// To `Write` and `Learn`: committed; the last sequence, and the positions of the changes.
    Written(Seq, VersionVector),
    /// To `Create`: committed; the new uid, and the position of the change.
    Created(CollectionUid, VersionVector),
    /// To `Create`: a collection of that name exists.
    Exists,
    /// To `Drop`.
    Dropped {
        /// Whether a collection was dropped.
        existed: bool,
        /// The uid dropped, or the youngest that could have been meant; for the calls to the other shards.
        upto: CollectionUid,
        /// The position of the change.
        covers: VersionVector,
    },
    /// To `Resolve`.
    Resolved(Option<(CollectionUid, CollectionDef)>),
    /// To `Read`, `List`, `Describe` and `Match`.
    Part(ReadPart),
    /// The collection does not exist.
    NoCollection,
    /// The request is wrong, for this reason.
    Wrong(String),
    /// The receiver does not lead; nothing was proposed. Believed leader.
    NotLeader(Option<ReplicaId>),
    /// The shard has this version of the bucket table, by which the bucket belongs to another shard.
    NotOwner(TableVersion),
    /// Not possible now, for this reason; the gateway retries until its deadline.
    Busy(String),
    /// The disk is full.
    Full,
    /// To `Definitions`: the existing collections, and the largest uid assigned. Collections up to that uid that are not
    /// listed were dropped.
    Definitions {
        /// The largest uid assigned.
        largest: CollectionUid,
        /// The existing collections.
        standing: Vec<(CollectionUid, CollectionDef)>,
    },
    /// To `Await`: whether the positions are applied and published.
    Reached(bool),
    /// To `ConditionalWrite`: committed.
    Conditional {
        /// The last sequence.
        last: Seq,
        /// The positions of the changes.
        covers: VersionVector,
        /// Ascending places of the changes whose points must be read and changed again. All others are settled.
        retry: Vec<u32>,
    },
    /// To a change: the shard no longer knows whether it was committed before; nothing was done now.
    Forgotten,
    /// The replica is overloaded, for this reason; nothing was done, and the client should slow down.
    Overloaded(String),
    /// The change was proposed, but the replica stepped down before it was committed: only the next leader knows its outcome.
    SteppedDown,
    /// The call needs more than the receiver supports, for this reason; nothing was done, and repeating it does not help.
    Unsupported(String),
    /// Received only: an answer of a kind that this build does not know. What the call did is unknown.
    Unknown,
}

impl ShardAnswer {
    /// Whether the answer states that nothing was proposed for this copy of the call.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Exists | Self::NoCollection | Self::Wrong(_) | Self::NotLeader(_) | Self::NotOwner(_) => true,
            Self::Busy(_) | Self::Full | Self::Overloaded(_) | Self::Unsupported(_) => true,
            Self::Written(..) | Self::Created(..) | Self::Dropped { .. } | Self::Conditional { .. } => false,
            Self::Resolved(_) | Self::Part(_) | Self::Definitions { .. } | Self::Reached(_) => false,
            Self::Forgotten | Self::SteppedDown | Self::Unknown => false,
        }
    }
}

impl ShardCall {
    /// The behavior version that executing the call needs. A kind of call, query, condition or change, or a field that changes
    /// the meaning of one, that a later version adds needs that version; the receiver refuses the call if it is older.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Read { query, .. } => query.needs(),
            Self::Match(query, _) => query.filter.needs(),
            Self::Write { ops, .. } => ops.iter().map(PointOp::needs).max().unwrap_or(BehaviorVersion::FIRST),
            Self::Create { .. } | Self::Learn { .. } | Self::Drop { .. } | Self::Resolve(_) => BehaviorVersion::FIRST,
            Self::ConditionalWrite { .. } | Self::List(_) | Self::Describe(..) => BehaviorVersion::FIRST,
            Self::Definitions | Self::Await(_) => BehaviorVersion::FIRST,
        }
    }

    /// Sets `sent_at` of a change that may be repeated: an entry of the shard that was applied before the first copy was
    /// sent. Other calls are unchanged; a conditional write has `read_at` instead.
    #[must_use]
    pub fn first_sent_at(mut self, at: LogIndex) -> Self {
        if let Self::Write { sent_at, .. } | Self::Create { sent_at, .. } | Self::Drop { sent_at, .. } = &mut self {
            *sent_at = at;
        }
        self
    }

    /// Whether the call proposes a client's change. A call that only prepares one does not.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Write { .. } | Self::ConditionalWrite { .. } | Self::Create { .. } | Self::Drop { .. } => true,
            Self::Learn { .. } | Self::Resolve(_) | Self::Definitions | Self::Await(_) => false,
            Self::Read { .. } | Self::Match(..) | Self::List(_) | Self::Describe(..) => false,
        }
    }

    /// Sets the time left for the answer of a read. Other calls are unchanged.
    #[must_use]
    pub fn with_time_left(mut self, left: Duration) -> Self {
        if let Self::Read { demand, .. } | Self::Match(_, demand) | Self::List(demand) | Self::Describe(_, demand) =
            &mut self
        {
            demand.left = left;
        }
        self
    }

    /// Whether the call changes nothing, so that it can be canceled at any time.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Match(..) | Self::List(_) | Self::Describe(..))
    }
}

/// One shard's part of a read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadPart {
    /// The result; `None` when the collection does not exist.
    pub body: Option<PartBody>,
    /// Whether the demand is met.
    pub kept: bool,
    /// Whether the replica waited to meet it.
    pub waited: bool,
    /// Upper bound on the age of what the part may miss, when it was answered; [`Duration::MAX`] when unknown.
    pub age: Duration,
    /// Time from the arrival of the call to its answer.
    pub took: Duration,
    /// Positions that the part reflects.
    pub covers: VersionVector,
}

/// The result of a read at one shard.
#[derive(Debug, Clone, PartialEq)]
pub enum PartBody {
    /// Of a read.
    Answer {
        /// The points found.
        answer: Answer,
        /// Of a search: smaller scores are nearer.
        smallest_first: bool,
    },
    /// The query does not fit the collection, for this reason.
    Wrong(String),
    /// Of a list.
    Collections(Vec<CollectionDef>),
    /// Of a describe.
    Collection {
        /// Its uid.
        uid: CollectionUid,
        /// Its definition.
        def: CollectionDef,
        /// Live points.
        points: u64,
        /// Indexed vectors.
        indexed: u64,
    },
    /// The read failed because of a defect of the server.
    Failed(String),
    /// Of a match.
    Matched {
        /// Ordered by id.
        points: Vec<(PointId, Stamp)>,
        /// Where the next page begins, if there is one.
        next: Option<PointId>,
        /// The newest entry that the read has seen.
        read_at: LogIndex,
    },
    /// Of a match: the shard has this version of the bucket table, not the gateway's.
    NotOwner(TableVersion),
}
