//! What an entry did.

use meridian_model::{
    BehaviorVersion, CollectionUid, Epoch, Hlc, LogIndex, OriginShard, Position, PrimaryTerm, Seq, TableVersion,
    VersionUnknown, WriteId,
};
use serde::{Deserialize, Serialize};

use crate::WriteResult;

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// By its kind.
    pub outcome: Outcome,
    /// Changes of points that took place.
    pub ops_applied: u64,
    /// Changes that did nothing: beaten by a larger stamp, of a dead collection, of another shard's bucket, misfits, or of
    /// a condition that did not hold.
    pub ops_idle: u64,
    /// The checksum that is due after this entry; the leader proposes it as [`crate::Entry::Checksum`].
    pub checksum: Option<(LogIndex, [u8; 32])>,
}

/// What an entry did, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Local changes took sequences, or had taken them before.
    Written {
        /// Whose write.
        id: WriteId,
        /// Which part of it.
        part: u32,
        /// Incarnation of the own delta log in which the changes took their sequences.
        epoch: Epoch,
        /// Sequence of the first change.
        first: Seq,
        /// Sequence of the last change; `first - 1` when there are none.
        last: Seq,
        /// Stamp of the first change.
        hlc: Hlc,
        /// The id was known: nothing was applied, and all of this is what the first one got.
        repeated: bool,
        /// What became of the write's change of a collection, if it had one.
        collection: Option<CollectionChange>,
        /// Of a conditional write: its changes, by place, whose points are to be read and tried again.
        retry: Vec<u32>,
    },
    /// The result of this write is not known, and may have been and been forgotten; nothing was done now.
    ResultForgotten {
        /// Whose write.
        id: WriteId,
        /// Which part of it.
        part: u32,
    },
    /// The write was made under another bucket table; it took no sequence and may be proposed anew.
    TableChanged {
        /// Whose write.
        id: WriteId,
        /// Which part of it.
        part: u32,
        /// The table in place.
        held: TableVersion,
    },
    /// The write was admitted under a primary term that has ended; it took no sequence, and the next primary is to be asked.
    TermEnded {
        /// Whose write.
        id: WriteId,
        /// Which part of it.
        part: u32,
        /// The term in place.
        held: PrimaryTerm,
    },
    /// The own delta log is in a new incarnation; the next local change has sequence 1.
    EpochBegun(Epoch),
    /// The epoch is not the one behind that in place; nothing changed.
    BeginEpochRefused {
        /// The epoch in place.
        held: Epoch,
    },
    /// A remote batch was taken.
    Merged(Merged),
    /// A remote batch left deltas out; nothing changed.
    GapRefused {
        /// Whose.
        origin: OriginShard,
        /// The sequence to read on from, and its epoch.
        wanted: Position,
    },
    /// A remote batch of an incarnation that is over; nothing changed.
    EpochRefused {
        /// Whose.
        origin: OriginShard,
        /// The position held.
        held: Position,
    },
    /// A remote batch of an origin that is being seeded; nothing changed.
    SeedRunning {
        /// Whose.
        origin: OriginShard,
    },
    /// A remote batch or seed that contradicts itself, or that names this region as its origin; nothing changed.
    Malformed {
        /// Whose.
        origin: OriginShard,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A seed began, or began anew.
    SeedBegun {
        /// Whose.
        origin: OriginShard,
    },
    /// A chunk of a seed was merged.
    SeedMerged {
        /// Whose.
        origin: OriginShard,
        /// Points of it that were new here.
        points: u64,
    },
    /// A seed is complete.
    Seeded {
        /// Whose.
        origin: OriginShard,
        /// Points removed because the origin has them no more.
        removed: u64,
    },
    /// A chunk or commit without a begin; nothing changed. The link begins anew.
    SeedRefused {
        /// Whose.
        origin: OriginShard,
    },
    /// Table and primary region are in place.
    TopologyChanged,
    /// The topology in place is not the expected one, or is newer; nothing changed.
    TopologyRefused {
        /// The table version in place.
        held: TableVersion,
    },
    /// The links are in place.
    LinksChanged,
    /// The links in place are not the expected ones; nothing changed.
    LinksRefused {
        /// The entry that set those in place.
        held: LogIndex,
    },
    /// The checksum is ours too, or ours of that place is not known any more.
    ChecksumHeld,
    /// This replica's state differs from the leader's: it must take itself out of service and re-install.
    ChecksumDiffers {
        /// After which entry.
        at: LogIndex,
    },
    /// Apply behaves as this version says from here on.
    VersionSwitched(BehaviorVersion),
    /// Local changes may need this version from here on.
    Published(BehaviorVersion),
    /// The group has not finalized the version that was to be published; nothing changed.
    PublishRefused {
        /// The version that it has finalized.
        held: BehaviorVersion,
    },
    /// This build does not know that version. The entry is not applied; nothing may be until a newer build takes over.
    VersionUnknown(VersionUnknown),
    /// The entry was applied before; nothing changed.
    Repeated,
    /// Nothing to do.
    Nothing,
}

impl Outcome {
    pub(crate) fn written(id: WriteId, part: u32, result: WriteResult, repeated: bool) -> Self {
        let WriteResult { epoch, first, last, hlc, collection, retry } = result;
        Self::Written { id, part, epoch, first, last, hlc, repeated, collection, retry }
    }
}

/// What a remote batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Whose.
    pub origin: OriginShard,
    /// Sequences of the batch that had been applied before.
    pub duplicates: u64,
    /// Sequences that the version vector moved by.
    pub advanced: u64,
    /// The position it stands at now.
    pub position: Position,
}

/// What became of a change of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionChange {
    /// It is there now.
    Created(CollectionUid),
    /// It was there already, under the same uid.
    Known(CollectionUid),
    /// Another one has the name; the uid is dead.
    NameTaken {
        /// Which.
        by: CollectionUid,
    },
    /// The uid was dropped before or belongs to another collection, or the definition is impossible: nothing was
    /// created.
    Dead(CollectionUid),
    /// It is gone.
    Dropped {
        /// Whether it was there.
        existed: bool,
    },
}
