//! The results of entries.

use meridian_model::{
    BehaviorVersion, CollectionUid, Epoch, Hlc, LogIndex, OriginShard, Position, PrimaryTerm, Seq, TableVersion,
    VersionUnknown, WriteId,
};
use serde::{Deserialize, Serialize};

use crate::WriteResult;

/// The result of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The result by kind of entry.
    pub outcome: Outcome,
    /// Number of changes of points that took effect.
    pub ops_applied: u64,
    /// Number of changes without effect: a larger stamp won, the collection is dropped, another shard owns the bucket,
    /// the vectors do not fit, or the condition did not hold.
    pub ops_idle: u64,
    /// The checksum that is due after this entry; the leader proposes it as [`crate::Entry::Checksum`].
    pub checksum: Option<(LogIndex, [u8; 32])>,
}

/// The result of an entry, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Local changes took sequences now, or had taken them before.
    Written {
        /// Id of the write.
        id: WriteId,
        /// Index of the part.
        part: u32,
        /// Epoch of the own delta log in which the changes took their sequences.
        epoch: Epoch,
        /// Sequence of the first change.
        first: Seq,
        /// Sequence of the last change; `first - 1` if there are none.
        last: Seq,
        /// Stamp of the first change.
        hlc: Hlc,
        /// The id was known: nothing was applied, and the fields are those of the first copy.
        repeated: bool,
        /// Result of the write's change of a collection, if it has one.
        collection: Option<CollectionChange>,
        /// Of a conditional write: indexes of the changes whose points must be read again and retried.
        retry: Vec<u32>,
    },
    /// The result of this write is unknown and may have been dropped; nothing was applied now.
    ResultForgotten {
        /// Id of the write.
        id: WriteId,
        /// Index of the part.
        part: u32,
    },
    /// The write was made under another bucket table; it took no sequence and may be proposed again.
    TableChanged {
        /// Id of the write.
        id: WriteId,
        /// Index of the part.
        part: u32,
        /// The current table.
        held: TableVersion,
    },
    /// The write was admitted under a primary term that has ended; it took no sequence and belongs to the new primary
    /// region.
    TermEnded {
        /// Id of the write.
        id: WriteId,
        /// Index of the part.
        part: u32,
        /// The current term.
        held: PrimaryTerm,
    },
    /// The own delta log began this epoch; the next local change has sequence 1.
    EpochBegun(Epoch),
    /// The epoch does not follow the current one; nothing changed.
    BeginEpochRefused {
        /// The current epoch.
        held: Epoch,
    },
    /// A remote batch was applied.
    Merged(Merged),
    /// A remote batch does not follow the applied position; nothing changed.
    GapRefused {
        /// The origin shard.
        origin: OriginShard,
        /// The position from which the link must read.
        wanted: Position,
    },
    /// A remote batch of an earlier epoch; nothing changed.
    EpochRefused {
        /// The origin shard.
        origin: OriginShard,
        /// The current position.
        held: Position,
    },
    /// A remote batch of an origin shard that is being seeded; nothing changed.
    SeedRunning {
        /// The origin shard.
        origin: OriginShard,
    },
    /// A remote batch or seed that contradicts itself, or names this region as its origin; nothing changed.
    Malformed {
        /// The origin shard.
        origin: OriginShard,
        /// The contradiction.
        reason: &'static str,
    },
    /// A seed started or restarted.
    SeedBegun {
        /// The origin shard.
        origin: OriginShard,
    },
    /// A chunk of a seed was merged.
    SeedMerged {
        /// The origin shard.
        origin: OriginShard,
        /// Number of its points that were new.
        points: u64,
    },
    /// A seed is complete.
    Seeded {
        /// The origin shard.
        origin: OriginShard,
        /// Points removed because the origin no longer has them.
        removed: u64,
    },
    /// A chunk or commit without a begin; nothing changed. The link restarts the seed.
    SeedRefused {
        /// The origin shard.
        origin: OriginShard,
    },
    /// Table and primary region are in effect.
    TopologyChanged,
    /// The current topology is newer, or is not the expected one; nothing changed.
    TopologyRefused {
        /// The current table version.
        held: TableVersion,
    },
    /// The links are in effect.
    LinksChanged,
    /// The current links are not the expected ones; nothing changed.
    LinksRefused {
        /// The entry that set the current links.
        held: LogIndex,
    },
    /// The own checksum is equal, or no longer known.
    ChecksumHeld,
    /// The state of this replica differs from the leader's: it must take itself out of service and install a snapshot.
    ChecksumDiffers {
        /// The last entry that the checksum covers.
        at: LogIndex,
    },
    /// Entries are applied by this behavior version from here on.
    VersionSwitched(BehaviorVersion),
    /// Local changes may need this version from here on.
    Published(BehaviorVersion),
    /// The group has not finalized the version that was to be published; nothing changed.
    PublishRefused {
        /// The version that it has finalized.
        held: BehaviorVersion,
    },
    /// This build does not know the version. The entry is not applied, nor is any later one until a newer build runs.
    VersionUnknown(VersionUnknown),
    /// The entry was applied before; nothing changed.
    Repeated,
    /// No effect.
    Nothing,
}

impl Outcome {
    pub(crate) fn written(id: WriteId, part: u32, result: WriteResult, repeated: bool) -> Self {
        let WriteResult { epoch, first, last, hlc, collection, retry } = result;
        Self::Written { id, part, epoch, first, last, hlc, repeated, collection, retry }
    }
}

/// The result of a remote batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The origin shard.
    pub origin: OriginShard,
    /// Sequences of the batch that had been applied before.
    pub duplicates: u64,
    /// Number of sequences by which the version vector advanced.
    pub advanced: u64,
    /// The new position.
    pub position: Position,
}

/// The result of a change of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionChange {
    /// It was created.
    Created(CollectionUid),
    /// It existed under the same uid.
    Known(CollectionUid),
    /// Another collection has the name; the uid is dead.
    NameTaken {
        /// The uid of that collection.
        by: CollectionUid,
    },
    /// The uid was dropped before or belongs to another collection, or the definition is invalid: nothing was created.
    Dead(CollectionUid),
    /// It was dropped.
    Dropped {
        /// Whether it existed.
        existed: bool,
    },
}
