//! What stands in the Raft log.
//!
//! ```text
//!   byte 0      format version, 3
//!   bytes 1..3  behavior version that a replica needs to apply the entry, little-endian
//!   bytes 3..   postcard of `Entry` (postcard specification, version 1)
//! ```
//! A replica stops before an entry that needs more than it knows, and before one of a newer format version: both are
//! [`DecodeError::VersionUnknown`], and neither is damage. The log stays as it is for the release that knows them.

use meridian_model::{
    BehaviorVersion, BucketTable, CONDITIONAL_PLACES, CollectionDef, CollectionUid, Delta, Epoch, Hlc, Link, LogIndex,
    MAX_CONDITIONAL_PART, Op, OriginShard, Payload, PointId, Position, PrimaryTerm, RegionName, RequestIndexes, Seq,
    TableVersion, Traceparent, Vectors, VersionUnknown, WriteId, WriteRef,
};
use serde::{Deserialize, Serialize};

use crate::{ConditionalWrite, Stamp};

/// First byte of every encoded entry.
pub const FORMAT_VERSION: u8 = 3;

/// One committed entry. New kinds are added at the end: the order is part of the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// Local changes: they get the next sequences.
    Write(Write),
    /// What another region's shard did.
    RemoteBatch(RemoteBatch),
    /// A step of loading another region's shard anew, because its log no longer reaches back to where we are.
    Seed {
        /// Whose points are loaded.
        origin: OriginShard,
        /// The step.
        step: SeedStep,
    },
    /// Who owns which bucket, and which region is primary.
    Topology(Topology),
    /// What the leader's [`crate::State::checksum`] was after `at`. A replica that differs takes itself out of service.
    Checksum {
        /// After which entry.
        at: LogIndex,
        /// The checksum.
        hash: [u8; 32],
    },
    /// From here on apply behaves as this version says; committed once all members report support.
    Version(BehaviorVersion),
    /// Nothing; the first entry of a term.
    Noop,
    /// Which regions are followed, and how.
    Links(Links),
    /// Local changes, each for one version of its point: they get the next sequences, also those that do nothing.
    ConditionalWrite(ConditionalWrite),
    /// From here on local changes belong to this incarnation of the own delta log, and their sequences start at 1 again.
    BeginEpoch {
        /// The epoch before it, plus 1: another one is refused.
        epoch: Epoch,
    },
    /// From here on local changes may need this version; committed once every region of the replication group has
    /// finalized it. The kind itself needs version 2.
    Publish(BehaviorVersion),
}

/// Local changes of one client's write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// A repeat of `(id, part)` applies nothing and has the result of the first.
    pub id: WriteId,
    /// Which part of the client's write.
    pub part: u32,
    /// The bucket table by which the leader found the points to be its own.
    pub table: TableVersion,
    /// The primary term under which the leader admitted it. Applied in a later term, it does nothing.
    pub term: PrimaryTerm,
    /// An entry that was applied before the write was first sent. Each copy of it stands behind; if a result recorded behind
    /// was forgotten, that may have been this write's, and nothing is done.
    pub sent_at: LogIndex,
    /// Checked and normalized.
    pub ops: Vec<Op>,
    /// Where each change stands in the client's request.
    pub indexes: RequestIndexes,
    /// Stamp of the first change; change `i` has `hlc + i`.
    pub hlc: Hlc,
    /// The request that it goes back to. Nothing that is stored depends on it.
    pub trace: Option<Traceparent>,
}

impl Write {
    /// Stamp of change `i`.
    #[must_use]
    pub fn stamp(&self, i: usize) -> Hlc {
        Hlc(self.hlc.0.saturating_add(i as u64))
    }

    /// The changes in order, each by its place in the client's request.
    pub fn refs(&self) -> impl Iterator<Item = WriteRef> {
        self.indexes.iter(self.ops.len()).map(|index| WriteRef { id: self.id, index })
    }
}

/// A run of one origin shard's deltas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteBatch {
    /// Whose deltas.
    pub origin: OriginShard,
    /// Incarnation of its log.
    pub epoch: Epoch,
    /// First sequence of the run; `to + 1` when the run is empty: then it says how far the source was read, or that an epoch begins.
    pub from: Seq,
    /// Last sequence of the run.
    pub to: Seq,
    /// Ascending; changes of points that other shards of this region own are left out.
    pub deltas: Vec<Delta>,
    /// How many shards the origin region has; 0 when the link does not know.
    pub origin_shards: u16,
    /// Where the link reads on after a restart.
    pub source: SourcePosition,
}

/// Where a link reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcePosition {
    /// From the origin itself, behind the version vector.
    Direct,
    /// Behind this record.
    Kafka {
        /// Partition of the topic.
        partition: i32,
        /// Offset in it.
        offset: i64,
    },
}

/// A step of a seed: `Begin`, any number of `Chunk`s, `Commit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SeedStep {
    /// Starts, or starts again.
    Begin {
        /// Where the origin's log stood before its first chunk was read.
        at: Position,
        /// The largest uid the origin had given by then: what it did not send of those is dropped.
        largest_uid: CollectionUid,
    },
    /// Points of the origin, merged by stamp. They may be newer than `Begin::at`.
    Chunk {
        /// The origin's live collections.
        collections: Vec<(CollectionUid, CollectionDef)>,
        /// Some of its live points.
        points: Vec<SeedPoint>,
        /// Where the origin's log stood when they were read.
        read_at: Position,
    },
    /// All chunks are there. What the origin did not send is removed, and the version vector moves, once the deltas up to
    /// the newest `read_at` are applied too: at once when there are none.
    Commit {
        /// Not behind `Begin::at`, else a delete between the two would be lost.
        position: Position,
        /// How many shards the origin region has; 0 when not known.
        origin_shards: u16,
    },
}

/// A point on its way to another region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPoint {
    /// Where.
    pub collection: CollectionUid,
    /// Which.
    pub point: PointId,
    /// Normalised already.
    pub vectors: Vectors,
    /// What is attached.
    pub payload: Payload,
    /// Who wrote it when.
    pub stamp: Stamp,
}

/// Who owns which bucket, and which region is primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The table version this replaces; another one in place refuses it.
    pub expects: TableVersion,
    /// Its version is `expects` when only the primary region changes, else larger.
    pub table: BucketTable,
    /// Never smaller than the one in place.
    pub term: PrimaryTerm,
    /// Which region takes writes under that term.
    pub primary: RegionName,
}

/// Which regions are followed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The entry that set those which these replace, 0 for none; another one in place refuses it.
    pub expects: LogIndex,
    /// One for each source.
    pub links: Vec<Link>,
}

/// Bytes that are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("empty log entry")]
    Empty,
    /// Written by a newer release.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// Written before 0.2.0, whose formats are not read.
    #[error("log entry of format version {0}; this build reads version {FORMAT_VERSION}")]
    Version(u8),
    /// Not what postcard writes for an entry.
    #[error("malformed log entry: {0}")]
    Malformed(postcard::Error),
    /// More bytes than the entry has.
    #[error("{0} bytes after a log entry")]
    Trailing(usize),
    /// A bucket table that leaves buckets without an owner.
    #[error("log entry with a broken bucket table of {0} shards")]
    BucketTable(u16),
    /// Places in the client's request that its changes cannot have.
    #[error("log entry of {0} changes with impossible places in the request")]
    Indexes(usize),
}

impl Entry {
    /// The bytes of the log. The proposer encodes once; these bytes are the entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [low, high] = self.needs().0.to_le_bytes();
        let head = vec![FORMAT_VERSION, low, high];
        postcard::to_extend(self, head).expect("an entry holds nothing that postcard cannot write")
    }

    /// The behavior version that a replica needs to apply the entry.
    ///
    /// The rule: an entry of a kind, with a field, or with an operation that behavior version `n` introduces, or whose apply
    /// rule `n` changes, needs `n`. Such an entry is proposed only by a leader whose group has applied
    /// [`Entry::Version`]`(n)`, which itself needs no more than every member knows: it says what follows.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Write(write) => largest(write.ops.iter().map(Op::needs)),
            Self::RemoteBatch(batch) => largest(batch.deltas.iter().map(Delta::needs)),
            Self::Seed { step: SeedStep::Chunk { points, .. }, .. } => {
                largest(points.iter().map(|point| point.payload.needs()))
            }
            Self::ConditionalWrite(_) | Self::BeginEpoch { .. } => BehaviorVersion::FIRST,
            Self::Publish(version) => (*version).max(BehaviorVersion(2)),
            Self::Seed { .. } | Self::Topology(_) | Self::Links(_) => BehaviorVersion::FIRST,
            Self::Checksum { .. } | Self::Version(_) | Self::Noop => BehaviorVersion::FIRST,
        }
    }

    /// Undoes [`Entry::encode`]. Memory stays in proportion to `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::VersionUnknown`] when a newer release wrote them; else when `bytes` are not exactly one entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first().ok_or(DecodeError::Empty)? {
            &newer if newer > FORMAT_VERSION => return Err(VersionUnknown::format(newer, FORMAT_VERSION).into()),
            &FORMAT_VERSION => {}
            older => return Err(DecodeError::Version(*older)),
        }
        let [_, low, high, body @ ..] = bytes else {
            return Err(DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd));
        };
        VersionUnknown::check(BehaviorVersion(u16::from_le_bytes([*low, *high])))?;
        let (entry, rest) = postcard::take_from_bytes::<Self>(body).map_err(DecodeError::Malformed)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        match &entry {
            Self::Topology(topology) if !is_whole(&topology.table) => {
                Err(DecodeError::BucketTable(topology.table.shards()))
            }
            Self::Write(write) if !write.indexes.fits(write.ops.len()) => Err(DecodeError::Indexes(write.ops.len())),
            Self::ConditionalWrite(ConditionalWrite { part, changes, .. })
                if *part > MAX_CONDITIONAL_PART || changes.len() > CONDITIONAL_PLACES as usize =>
            {
                Err(DecodeError::Indexes(changes.len()))
            }
            _ => Ok(entry),
        }
    }
}

fn largest(needs: impl Iterator<Item = BehaviorVersion>) -> BehaviorVersion {
    needs.max().unwrap_or(BehaviorVersion::FIRST)
}

/// True when every bucket has an owner: all tables are even ones until resharding comes.
pub(crate) fn is_whole(table: &BucketTable) -> bool {
    let Ok(mut even) = BucketTable::even(table.shards()) else { return false };
    even.version = table.version;
    even == *table
}

#[cfg(test)]
mod tests;
