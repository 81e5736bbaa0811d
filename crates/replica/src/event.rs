//! Input events and output commands of the machine.

use std::time::Duration;

use meridian_model::client::{Reply, Request};
use meridian_model::{
    CollectionName, Hlc, OriginShard, Query, ReplicaId, Seq, Topic, Traceparent, VersionVector, WallMillis,
};
use meridian_proto::frame::{Hello, MatchQuery, NodeId, PartBody, Peer, PeerMessage, RegionMessage};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use meridian_shard::{SourcePosition, State};

use crate::{Poison, Record};

/// The two clocks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time since an arbitrary epoch; advances while the machine is suspended (`CLOCK_BOOTTIME`).
    pub mono: Duration,
    /// Wall clock since the Unix epoch, with the machine's clock error.
    pub wall: Duration,
}

impl Now {
    /// The wall clock in whole milliseconds.
    #[must_use]
    pub fn wall_millis(&self) -> WallMillis {
        WallMillis(u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Input of [`Replica::step`](crate::Replica::step).
pub enum Event {
    /// Periodic tick, every 20 ms.
    Tick {
        /// Fresh randomness, for election jitter.
        random: u64,
    },
    /// A client request; the reply carries the ticket.
    Client {
        /// Number assigned by the shell.
        ticket: u64,
        /// The request.
        request: Request,
    },
    /// The client of this ticket disconnected. A read is cancelled, a write continues.
    Gone {
        /// The ticket of its request.
        ticket: u64,
    },
    /// A replica of this region connected, or changed its address.
    Met(Hello),
    /// Another region connected.
    Connected(Peer),
    /// The connection to a peer was lost, with all calls in flight.
    Lost(Peer),
    /// Keep-alive of another region.
    Heard(Peer),
    /// A message of a replica of this region.
    Peer(NodeId, PeerMessage),
    /// A message of another region, or on a connection that it opened.
    Region(Peer, RegionMessage),
    /// A call of the operator.
    Topology {
        /// Number assigned by the shell.
        ticket: u64,
        /// The request.
        call: TopologyCall,
    },
    /// The records of the [`Command::Persist`] with this number are durable.
    Persisted {
        /// The number.
        number: u64,
        /// Log sequence number of its first record; the others follow it.
        first: u64,
    },
    /// A read is complete.
    ReadDone {
        /// The job's number.
        job: u64,
        /// The result.
        result: ReadResult,
    },
    /// A read was rejected: the read queue is too long for the deadline.
    ReadRefused {
        /// The job's number.
        job: u64,
        /// Reason, for the client.
        why: String,
    },
    /// A snapshot was written, or failed.
    SnapshotTaken {
        /// Its number.
        id: u64,
        /// Its manifest; `None` if writing it failed.
        manifest: Option<Vec<u8>>,
    },
    /// A chunk of a snapshot that another replica requested was read.
    ChunkRead {
        /// The requesting replica.
        to: NodeId,
        /// Number of its call.
        call: u64,
        /// The chunk; `None` if the snapshot no longer exists.
        bytes: Option<Vec<u8>>,
    },
    /// The snapshot being installed needs this chunk next.
    InstallWants {
        /// Name of the file.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        len: u32,
    },
    /// The snapshot is complete and on disk.
    Installed {
        /// Its meta bytes.
        meta: Vec<u8>,
        /// Its state.
        state: Box<State>,
    },
    /// The snapshot could not be installed.
    InstallFailed(String),
    /// Records of a followed log, read from a broker.
    Records {
        /// The number of [`Command::Follow`].
        call: u64,
        /// In log order, each with its source position.
        records: Vec<(Record, SourcePosition)>,
        /// Number of shards of the origin region.
        origin_shards: u16,
    },
    /// A broker record that does not belong to the followed log or cannot be decoded. Reading continues after it.
    Poison {
        /// The number of [`Command::Follow`].
        call: u64,
        /// Position and reason.
        poison: Poison,
    },
    /// Free bytes for log and snapshots, reported several times per second, also during writes.
    FreeBytes(u64),
    /// Memory that the process uses and the system cannot reclaim, reported as often.
    MemoryUsed {
        /// Bytes used.
        bytes: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// The process is to stop: transfer the leadership.
    Drain,
    /// Requests have ended: write a last snapshot if it shortens the next start and completes in time, then return
    /// [`Command::Finished`].
    Finish {
        /// Time until the process ends at the latest.
        within: Duration,
    },
}

/// Output of [`Replica::step`](crate::Replica::step).
#[derive(Debug)]
pub enum Command {
    /// Append these records to the log in order of the numbers and sync it; then send [`Event::Persisted`].
    Persist {
        /// The number.
        number: u64,
        /// Encoded [`crate::LogRecord`]s.
        records: Vec<Vec<u8>>,
    },
    /// Records before this log sequence number are no longer needed.
    Release {
        /// The number.
        before: u64,
        /// Return the space to the file system instead of reusing it for the log.
        shrink: bool,
    },
    /// The leadership was transferred because this replica cannot write.
    HandedOver {
        /// The next leader.
        to: ReplicaId,
        /// The reason.
        cause: HandOverCause,
    },
    /// Send a message to a replica of this region; it may be lost.
    Send(NodeId, PeerMessage),
    /// Send a message to another region, or on a connection that it opened; it may be lost.
    SendRegion(Peer, RegionMessage),
    /// Keep a connection to the replica at this address.
    Dial(NodeId, String),
    /// Reply to a client.
    Reply {
        /// The ticket of the request.
        ticket: u64,
        /// The answer.
        reply: Reply,
    },
    /// Answer a call of the operator.
    TopologyReply {
        /// The ticket of the call.
        ticket: u64,
        /// The answer.
        answer: TopologyAnswer,
    },
    /// Run [`crate::execute`] on the state, on any thread; then send [`Event::ReadDone`], or [`Event::ReadRefused`] at
    /// once. A cancelled read needs no event.
    Read {
        /// The job's number.
        job: u64,
        /// The read.
        what: ReadWhat,
        /// Deadline on the machine's monotonic clock ([`Now::mono`]); later answers are dropped.
        deadline: Duration,
    },
    /// Cancel a read: its requester no longer waits.
    CancelRead {
        /// The job's number.
        job: u64,
    },
    /// Write a snapshot; then send [`Event::SnapshotTaken`].
    TakeSnapshot {
        /// Its number: the index of the newest entry it holds.
        id: u64,
        /// Opaque bytes for its manifest.
        meta: Vec<u8>,
        /// Image of the state to write.
        image: Box<meridian_shard::Image>,
    },
    /// Read a chunk of an own snapshot; then send [`Event::ChunkRead`].
    ReadChunk {
        /// The requesting replica.
        to: NodeId,
        /// Number of its call.
        call: u64,
        /// Number of the snapshot.
        snapshot: u64,
        /// Name of the file.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// Maximum length in bytes.
        len: u32,
    },
    /// Begin or continue installing the snapshot of this manifest; then send [`Event::InstallWants`] or
    /// [`Event::Installed`].
    Install {
        /// Number of the snapshot.
        id: u64,
        /// Its manifest.
        manifest: Vec<u8>,
    },
    /// The requested chunk.
    InstallChunk {
        /// Name of the file.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// The chunk.
        bytes: Vec<u8>,
    },
    /// This replica applied changes of another region.
    Merged {
        /// The origin shard.
        origin: OriginShard,
        /// Commit time of each change at the origin.
        committed_at: Vec<Hlc>,
    },
    /// This replica applied changes of another region that belong to traced requests; export a span for each.
    Traced(Vec<Traced>),
    /// The leadership of this replica began or ended. The leader publishes the shard's delta log to the configured
    /// topic, reading it as another region does.
    Leads(bool),
    /// Read an origin shard's records from the broker; then send [`Event::Records`] and [`Event::Poison`] under this
    /// number.
    Follow {
        /// The number.
        call: u64,
        /// The origin shard.
        origin: OriginShard,
        /// The topic to read.
        topic: Topic,
        /// Read from the record after this position, or from the oldest record if the position is not in the topic.
        after: SourcePosition,
        /// Credit in bytes, counted by [`crate::record_bytes`].
        credit: u64,
    },
    /// Grant more credit to a topic reader.
    FollowCredit {
        /// The number of [`Command::Follow`].
        call: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Stop a topic reader.
    Unfollow {
        /// The number of [`Command::Follow`].
        call: u64,
    },
    /// A record of an origin shard's log could not be applied; report it to an operator.
    Poisoned {
        /// The origin shard.
        origin: OriginShard,
        /// The record and the reason.
        poison: Poison,
    },
    /// This replica left service because its log or state cannot be trusted.
    OutOfService(String),
    /// The leadership is transferred, or there is none: the shell may stop accepting requests.
    Drained,
    /// The process may stop; its volume is as consistent as after a kill.
    Finished {
        /// Number of entries that the next start reapplies.
        entries_behind: u64,
        /// A snapshot being written did not complete in time.
        is_abandoned: bool,
    },
}

/// Reason why a leader cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOverCause {
    /// Its disk is full.
    DiskFull,
    /// Memory does not suffice for a snapshot.
    MemoryShort,
    /// An fsync has been running for more than an election timeout.
    FsyncHangs,
}

/// An applied change of another region, and the request that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The request.
    pub trace: Traceparent,
    /// The origin shard.
    pub origin: OriginShard,
    /// Sequence of the change.
    pub seq: Seq,
    /// Commit time at the origin.
    pub committed_at: Hlc,
}

/// A read of the local state.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadWhat {
    /// Points of a collection.
    Points(CollectionName, Query),
    /// The definitions of all collections.
    List,
    /// One collection and its counts.
    Describe(CollectionName),
    /// Points that match a filter, with their stamps.
    Match(MatchQuery),
}

/// Result of a read, and the positions that it reflects.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult {
    /// `None` if the collection does not exist.
    pub body: Option<PartBody>,
    /// Positions reflected.
    pub covers: VersionVector,
}

/// Vectors that are not merged into a graph yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// No vectors to merge.
    None,
    /// Some vectors to merge.
    Short,
    /// Some, but merging waits for running searches, whose views hold many copied rows.
    Waiting,
    /// So many that scanning them slows searches.
    Long,
}
