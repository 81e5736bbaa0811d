//! What goes into the machine and what comes out.

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
    /// Time since some fixed moment: nobody sets it, and it goes on while the machine is suspended (`CLOCK_BOOTTIME`).
    pub mono: Duration,
    /// Wall clock, since the Unix epoch; as wrong as the machine's.
    pub wall: Duration,
}

impl Now {
    /// The wall clock in whole milliseconds.
    #[must_use]
    pub fn wall_millis(&self) -> WallMillis {
        WallMillis(u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Something happened.
pub enum Event {
    /// Time passed. Comes every 20 ms.
    Tick {
        /// Fresh randomness, for election jitter.
        random: u64,
    },
    /// A client asks; the answer carries the ticket.
    Client {
        /// The shell's number for it.
        ticket: u64,
        /// What it asks.
        request: Request,
    },
    /// The client of this ticket is gone: a read is ended, a write goes on.
    Gone {
        /// The ticket of its request.
        ticket: u64,
    },
    /// A replica of this region is connected, or changed its address.
    Met(Hello),
    /// Another region is connected.
    Connected(Peer),
    /// A party is no longer connected. What was under way to it is lost.
    Lost(Peer),
    /// Another region is there, and has nothing else to say.
    Heard(Peer),
    /// From a replica of this region.
    Peer(NodeId, PeerMessage),
    /// From another region, or from a connection that it opened.
    Region(Peer, RegionMessage),
    /// From the operator.
    Topology {
        /// The shell's number for it.
        ticket: u64,
        /// What it asks.
        call: TopologyCall,
    },
    /// What [`Command::Persist`] of this number handed over is on disk.
    Persisted {
        /// The number.
        number: u64,
        /// Log sequence number of its first record; the others follow it.
        first: u64,
    },
    /// A read is done.
    ReadDone {
        /// The job's number.
        job: u64,
        /// What was read.
        result: ReadResult,
    },
    /// A read was not begun: more reads wait than can be answered in time.
    ReadRefused {
        /// The job's number.
        job: u64,
        /// Why, for the client.
        why: String,
    },
    /// A snapshot is on disk, or could not be written.
    SnapshotTaken {
        /// Its number.
        id: u64,
        /// Its manifest; `None` when it could not be written.
        manifest: Option<Vec<u8>>,
    },
    /// A piece of a snapshot that another replica asked for.
    ChunkRead {
        /// Who asked.
        to: NodeId,
        /// Under which number.
        call: u64,
        /// The piece; `None` when the snapshot is gone.
        bytes: Option<Vec<u8>>,
    },
    /// The snapshot that is being installed wants this piece next.
    InstallWants {
        /// Which file.
        file: String,
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// The snapshot is whole and on disk.
    Installed {
        /// Its meta bytes.
        meta: Vec<u8>,
        /// What it held.
        state: Box<State>,
    },
    /// The snapshot could not be installed.
    InstallFailed(String),
    /// Records that a broker holds of a log that is followed.
    Records {
        /// The number of [`Command::Follow`].
        call: u64,
        /// In order, each with its place.
        records: Vec<(Record, SourcePosition)>,
        /// How many shards the origin region has.
        origin_shards: u16,
    },
    /// A record that is none of the log that is followed, or cannot be read; what follows it is read on.
    Poison {
        /// The number of [`Command::Follow`].
        call: u64,
        /// What is wrong with it.
        poison: Poison,
    },
    /// Bytes that the log and snapshots can still take. Told several times a second, also while writing.
    FreeBytes(u64),
    /// Memory that the process uses and the system cannot take back. Told as often.
    MemoryUsed {
        /// How much.
        bytes: u64,
        /// What it may use.
        limit: u64,
    },
    /// The process is asked to stop: hand the leadership over.
    Drain,
    /// Nobody asks any more: write a last snapshot, if that saves the next start something and ends in time; then say
    /// [`Command::Finished`].
    Finish {
        /// When the process ends at the latest.
        within: Duration,
    },
}

/// Something is to be done.
#[derive(Debug)]
pub enum Command {
    /// Append these records to the log and sync it; then say [`Event::Persisted`]. In the order of their numbers.
    Persist {
        /// The number.
        number: u64,
        /// Encoded [`crate::LogRecord`]s.
        records: Vec<Vec<u8>>,
    },
    /// What stands before this log sequence number is not needed any more.
    Release {
        /// The number.
        before: u64,
        /// Give the space back to the disk, rather than keep it for the log.
        shrink: bool,
    },
    /// The leadership goes to another replica, because this one cannot write.
    HandedOver {
        /// To whom.
        to: ReplicaId,
        /// Why.
        cause: HandOverCause,
    },
    /// To a replica of this region; may be lost.
    Send(NodeId, PeerMessage),
    /// To another region, or on a connection that it opened; may be lost.
    SendRegion(Peer, RegionMessage),
    /// A replica of this region stands at this address: keep a connection to it.
    Dial(NodeId, String),
    /// The answer to a client.
    Reply {
        /// The ticket of the request.
        ticket: u64,
        /// The answer.
        reply: Reply,
    },
    /// The answer to the operator.
    TopologyReply {
        /// The ticket of the call.
        ticket: u64,
        /// The answer.
        answer: TopologyAnswer,
    },
    /// Run [`crate::execute`] on the state, on any thread; then say [`Event::ReadDone`], or [`Event::ReadRefused`] at once. A
    /// read that was stopped needs no word.
    Read {
        /// The job's number.
        job: u64,
        /// What to read.
        what: ReadWhat,
        /// On the machine's own clock ([`Now::mono`]); nobody waits for the answer after that.
        deadline: Duration,
    },
    /// Nobody waits for this read any more.
    CancelRead {
        /// The job's number.
        job: u64,
    },
    /// Write a snapshot; then say [`Event::SnapshotTaken`].
    TakeSnapshot {
        /// Its number: the index of the newest entry it holds.
        id: u64,
        /// Opaque bytes for its manifest.
        meta: Vec<u8>,
        /// What it is written of.
        image: Box<meridian_shard::Image>,
    },
    /// Read a piece of a snapshot of ours; then say [`Event::ChunkRead`].
    ReadChunk {
        /// For whom.
        to: NodeId,
        /// Under which number.
        call: u64,
        /// Which snapshot.
        snapshot: u64,
        /// Which file.
        file: String,
        /// From which byte.
        offset: u64,
        /// How many bytes at most.
        len: u32,
    },
    /// Begin to install the snapshot of this manifest, or go on with it; then say [`Event::InstallWants`] or
    /// [`Event::Installed`].
    Install {
        /// Number it is kept under.
        id: u64,
        /// Its manifest.
        manifest: Vec<u8>,
    },
    /// The piece that was wanted.
    InstallChunk {
        /// Which file.
        file: String,
        /// From which byte.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// Changes of another region were applied here, at this replica.
    Merged {
        /// Whose.
        origin: OriginShard,
        /// When the origin stamped each.
        committed_at: Vec<Hlc>,
    },
    /// Changes of another region were applied here that go back to requests with a trace: tell where they got to.
    Traced(Vec<Traced>),
    /// This replica leads its shard now, or does not any more: the leader publishes the shard's delta log where it is to be
    /// published, reading it as another region does.
    Leads(bool),
    /// Read an origin shard's records from the broker; then say [`Event::Records`] and [`Event::Poison`] under this number.
    Follow {
        /// The number.
        call: u64,
        /// Whose records.
        origin: OriginShard,
        /// Where they are.
        topic: Topic,
        /// From the one behind this place; from the oldest when it is none of a broker, or gone.
        after: SourcePosition,
        /// How many bytes, counted by [`crate::record_bytes`], may be handed over.
        credit: u64,
    },
    /// So many bytes more.
    FollowCredit {
        /// The number of [`Command::Follow`].
        call: u64,
        /// How many.
        bytes: u64,
    },
    /// No more.
    Unfollow {
        /// The number of [`Command::Follow`].
        call: u64,
    },
    /// A record of an origin shard's log could not be taken, and an operator should look at it.
    Poisoned {
        /// Whose log.
        origin: OriginShard,
        /// What and where.
        poison: Poison,
    },
    /// This replica must not serve any more; its log or state cannot be trusted.
    OutOfService(String),
    /// The leadership is handed over, or there is none: no more requests need to be taken.
    Drained,
    /// The process may stop; what it leaves behind is as good as after a kill.
    Finished {
        /// Entries that the next start applies again.
        entries_behind: u64,
        /// A snapshot is being written that did not end in time.
        is_abandoned: bool,
    },
}

/// Why a leader cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOverCause {
    /// Its disk is full.
    DiskFull,
    /// A snapshot does not fit into its memory.
    MemoryShort,
    /// An fsync has been running for more than an election timeout.
    FsyncHangs,
}

/// A change of another region that was applied, and the request that it goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The request.
    pub trace: Traceparent,
    /// Whose log.
    pub origin: OriginShard,
    /// Where in it.
    pub seq: Seq,
    /// When the origin stamped it.
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

/// What was read, and what it reflects.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult {
    /// `None` when the collection is not there.
    pub body: Option<PartBody>,
    /// Positions reflected.
    pub covers: VersionVector,
}

/// Vectors that still wait to be merged into a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// None that could be merged now.
    None,
    /// Some.
    Short,
    /// Some, and searches under way still look at so many rows that were replaced that they are waited for.
    Waiting,
    /// So many that searches, which scan them, take notice.
    Long,
}
