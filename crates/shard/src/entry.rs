//! Entries of the Raft log.
//!
//! ```text
//!   byte 0      format version, 3
//!   bytes 1..3  behavior version that a replica needs to apply the entry, little-endian
//!   bytes 3..   postcard of `Entry` (postcard specification, version 1)
//! ```
//! A replica stops before an entry of a newer behavior or format version ([`DecodeError::VersionUnknown`]), which is
//! not damage. The log stays unchanged for a release that knows the version.

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
    /// Local changes, which get the next sequences.
    Write(Write),
    /// Changes of another region's shard.
    RemoteBatch(RemoteBatch),
    /// A step of re-seeding another region's shard, used when its log no longer reaches back to the version vector.
    Seed {
        /// The shard whose points are loaded.
        origin: OriginShard,
        /// The step.
        step: SeedStep,
    },
    /// The bucket table and the primary region.
    Topology(Topology),
    /// The leader's [`crate::State::checksum`] after `at`. A replica with another one takes itself out of service.
    Checksum {
        /// The last entry that it covers.
        at: LogIndex,
        /// The checksum.
        hash: [u8; 32],
    },
    /// The behavior version that applies from here on; committed once all members report support.
    Version(BehaviorVersion),
    /// No effect; the first entry of a term.
    Noop,
    /// The links to other regions.
    Links(Links),
    /// Local changes, each conditional on the version of its point. They get the next sequences even if they have no
    /// effect.
    ConditionalWrite(ConditionalWrite),
    /// From here on local changes belong to this epoch of the own delta log, and their sequences start at 1.
    BeginEpoch {
        /// The current epoch plus 1; any other is refused.
        epoch: Epoch,
    },
    /// From here on local changes may need this version; committed once every region of the replication group has
    /// finalized it. The kind itself needs version 2.
    Publish(BehaviorVersion),
}

/// Local changes of one client's write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// A repeat of `(id, part)` applies nothing and gets the result of the first copy.
    pub id: WriteId,
    /// Index of this part of the client's write.
    pub part: u32,
    /// The version of the bucket table by which the leader owned the points.
    pub table: TableVersion,
    /// The primary term under which the leader admitted it. In a later term it does nothing.
    pub term: PrimaryTerm,
    /// An entry that was applied before the write was first sent. Every copy of the write is after it. If a result
    /// recorded after it was dropped, that may have been this write's, and nothing is done.
    pub sent_at: LogIndex,
    /// Checked and normalized.
    pub ops: Vec<Op>,
    /// Index of each change in the client's request.
    pub indexes: RequestIndexes,
    /// Stamp of the first change; change `i` has `hlc + i`.
    pub hlc: Hlc,
    /// Trace context of the client's request. Nothing stored depends on it.
    pub trace: Option<Traceparent>,
}

impl Write {
    /// Stamp of change `i`.
    #[must_use]
    pub fn stamp(&self, i: usize) -> Hlc {
        Hlc(self.hlc.0.saturating_add(i as u64))
    }

    /// The changes in order, each identified by its index in the client's request.
    pub fn refs(&self) -> impl Iterator<Item = WriteRef> {
        self.indexes.iter(self.ops.len()).map(|index| WriteRef { id: self.id, index })
    }
}

/// Consecutive deltas of one origin shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteBatch {
    /// The origin shard.
    pub origin: OriginShard,
    /// Epoch of its log.
    pub epoch: Epoch,
    /// First sequence of the batch; `to + 1` for an empty batch, which only advances the source position or begins an
    /// epoch.
    pub from: Seq,
    /// Last sequence of the batch.
    pub to: Seq,
    /// Deltas in ascending order, without changes of points that other shards of this region own.
    pub deltas: Vec<Delta>,
    /// Number of shards of the origin region; 0 if the link does not know it.
    pub origin_shards: u16,
    /// The position from which the link reads after a restart.
    pub source: SourcePosition,
}

/// The position from which a link reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcePosition {
    /// The origin itself, after the version vector.
    Direct,
    /// After this record.
    Kafka {
        /// Partition of the topic.
        partition: i32,
        /// Offset in the partition.
        offset: i64,
    },
}

/// A step of a seed: `Begin`, any number of `Chunk`s, `Commit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SeedStep {
    /// Starts or restarts a seed.
    Begin {
        /// Position of the origin's log before its first chunk was read.
        at: Position,
        /// The largest uid that the origin had allocated by then: collections up to it that it does not list are
        /// dropped.
        largest_uid: CollectionUid,
    },
    /// Points of the origin, merged by stamp. They may be newer than `Begin::at`.
    Chunk {
        /// The origin's live collections.
        collections: Vec<(CollectionUid, CollectionDef)>,
        /// Some of their live points.
        points: Vec<SeedPoint>,
        /// Position of the origin's log when they were read.
        read_at: Position,
    },
    /// All chunks have been sent. Points that the origin did not send are removed, and the version vector advances,
    /// once the deltas up to the newest `read_at` are applied: at once if there are none.
    Commit {
        /// Not before `Begin::at`, else a delete between the two would be lost.
        position: Position,
        /// Number of shards of the origin region; 0 if unknown.
        origin_shards: u16,
    },
}

/// A point sent to another region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPoint {
    /// Its collection.
    pub collection: CollectionUid,
    /// Its id.
    pub point: PointId,
    /// Normalized.
    pub vectors: Vectors,
    /// Its payload.
    pub payload: Payload,
    /// Origin and time of the write.
    pub stamp: Stamp,
}

/// The bucket table and the primary region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The table version that this replaces; refused if another one is in effect.
    pub expects: TableVersion,
    /// Its version is `expects` if only the primary region changes, else larger.
    pub table: BucketTable,
    /// Not smaller than the current term.
    pub term: PrimaryTerm,
    /// The primary region of that term.
    pub primary: RegionName,
}

/// The links to other regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The entry that set the links that these replace, 0 for none; refused if other links are in effect.
    pub expects: LogIndex,
    /// One link for each source.
    pub links: Vec<Link>,
}

/// Reason for which bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("empty log entry")]
    Empty,
    /// Written by a newer release.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// Written before 0.2.0, whose formats are not read.
    #[error("log entry of format version {0}; this build reads version {FORMAT_VERSION}")]
    Version(u8),
    /// Not the postcard encoding of an entry.
    #[error("malformed log entry: {0}")]
    Malformed(postcard::Error),
    /// Bytes after the entry.
    #[error("{0} bytes after a log entry")]
    Trailing(usize),
    /// A bucket table that leaves buckets without an owner.
    #[error("log entry with a broken bucket table of {0} shards")]
    BucketTable(u16),
    /// Indexes that the changes cannot have in the client's request.
    #[error("log entry of {0} changes with impossible places in the request")]
    Indexes(usize),
}

impl Entry {
    /// The bytes in the log. The proposer encodes once; these bytes are the entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [low, high] = self.needs().0.to_le_bytes();
        let head = vec![FORMAT_VERSION, low, high];
        postcard::to_extend(self, head).expect("an entry holds nothing that postcard cannot write")
    }

    /// The behavior version that a replica needs to apply the entry.
    ///
    /// Rule: an entry needs version `n` if version `n` introduces its kind, one of its fields or one of its operations,
    /// or changes its effect. Such an entry is proposed only by a leader whose group has applied
    /// [`Entry::Version`]`(n)`. That entry itself needs only what every member knows: it announces what follows.
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

    /// Reverses [`Entry::encode`]. Memory is proportional to `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::VersionUnknown`] if a newer release wrote the bytes; another variant if `bytes` are not exactly
    /// one entry.
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

/// Returns true if every bucket has an owner: resharding does not exist yet, so all tables are even.
pub(crate) fn is_whole(table: &BucketTable) -> bool {
    let Ok(mut even) = BucketTable::even(table.shards()) else { return false };
    even.version = table.version;
    even == *table
}

#[cfg(test)]
mod tests;
