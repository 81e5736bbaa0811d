//! The state of one replica, and its queries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use meridian_model::{
    BehaviorVersion, BucketTable, BucketTableError, CollectionName, CollectionUid, Epoch, Hlc, Link, LogIndex,
    OriginShard, PointId, Position, PrimaryTerm, RegionName, Seq, ShardNumber, VersionVector, WriteId,
};
use serde::{Deserialize, Serialize};

use crate::collections::Collections;
use crate::outbox::Outbox;
use crate::seed::Seeding;
use crate::view::View;
use crate::write_ids::WriteIds;
use crate::{Collection, Digest, SourcePosition, WriteResult};

/// Identity of a shard: what its group was bootstrapped with, equal on all replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its region.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
    /// Number of shards of the region.
    pub shards: u16,
    /// The primary region at first, with its term.
    pub primary: (PrimaryTerm, RegionName),
    /// Behavior version of the group at its first entry.
    pub behavior: BehaviorVersion,
}

/// The state of one replica. All of it is in the snapshot, and only [`State::apply`] changes it.
pub struct State {
    pub(crate) core: Core,
    pub(crate) collections: Collections,
    pub(crate) names: Arc<BTreeMap<CollectionName, CollectionUid>>,
    pub(crate) write_ids: WriteIds,
    pub(crate) outbox: Outbox,
    /// The last checksums that were due, oldest first.
    pub(crate) checksums: VecDeque<(LogIndex, [u8; 32])>,
    /// Number of entries between two checksums.
    pub(crate) checksum_every: u64,
    /// See [`State::skip_vv_check`].
    #[cfg(feature = "fault-injection")]
    pub(crate) skips_vv_check: bool,
    /// See [`State::defer_merging`].
    pub(crate) defers_merging: bool,
}

/// The small part of the state, stored whole in the snapshot and the checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Core {
    /// Version of the rules for applying entries, and of the form of snapshots.
    pub(crate) behavior: BehaviorVersion,
    /// Stored in [`CoreSince2`]; [`BehaviorVersion::FIRST`] in groups without it.
    #[serde(skip, default = "first")]
    pub(crate) published: BehaviorVersion,
    pub(crate) me: OriginShard,
    pub(crate) applied: LogIndex,
    pub(crate) table: BucketTable,
    pub(crate) primary: (PrimaryTerm, RegionName),
    /// Epoch of the own delta log.
    pub(crate) epoch: Epoch,
    /// Last sequence of each earlier epoch.
    pub(crate) ended: BTreeMap<Epoch, Seq>,
    pub(crate) next_seq: Seq,
    pub(crate) last_hlc: Hlc,
    pub(crate) vv: VersionVector,
    pub(crate) origin_shards: BTreeMap<RegionName, u16>,
    pub(crate) sources: BTreeMap<OriginShard, SourcePosition>,
    pub(crate) largest_uid: CollectionUid,
    pub(crate) dropped: BTreeMap<CollectionUid, Dropped>,
    pub(crate) seeds: BTreeMap<OriginShard, Seeding>,
    pub(crate) links: Vec<Link>,
    /// The entry that set the links.
    pub(crate) links_version: LogIndex,
}

/// The part of the core that behavior version 2 adds. It follows the core in snapshot and checksum; replicas of groups that
/// have not finalized that version need not know it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CoreSince2 {
    /// See [`State::published`].
    pub(crate) published: BehaviorVersion,
}

impl Core {
    /// Whether the core has a [`CoreSince2`].
    pub(crate) fn has_since_2(&self) -> bool {
        self.behavior >= BehaviorVersion(2)
    }

    pub(crate) fn since_2(&self) -> Option<CoreSince2> {
        self.has_since_2().then_some(CoreSince2 { published: self.published })
    }
}

fn first() -> BehaviorVersion {
    BehaviorVersion::FIRST
}

/// A dropped collection, which a late record must not restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped {
    /// Its name, if it existed here.
    pub(crate) name: Option<CollectionName>,
    /// The stream of shard 1 contains the drop. Until then, creates in that stream were decided while this collection
    /// existed.
    pub(crate) decided: bool,
}

impl State {
    /// The state before the first entry.
    ///
    /// # Errors
    /// The number of shards is out of bounds.
    pub fn new(identity: Identity) -> Result<Self, BucketTableError> {
        let Identity { region, shard, shards, primary, behavior } = identity;
        let table = BucketTable::even(shards)?;
        if shard.number() > shards {
            return Err(BucketTableError::ShardCount(shards));
        }
        let core = Core {
            behavior,
            published: BehaviorVersion::FIRST,
            me: OriginShard { region: region.clone(), shard },
            applied: LogIndex(0),
            table,
            primary,
            epoch: Epoch(1),
            ended: BTreeMap::new(),
            next_seq: Seq(1),
            last_hlc: Hlc::ZERO,
            vv: VersionVector::default(),
            origin_shards: BTreeMap::from([(region, shards)]),
            sources: BTreeMap::new(),
            largest_uid: CollectionUid(0),
            dropped: BTreeMap::new(),
            seeds: BTreeMap::new(),
            links: Vec::new(),
            links_version: LogIndex(0),
        };
        Ok(Self::of(core))
    }

    /// A state without collections.
    pub(crate) fn of(core: Core) -> Self {
        Self {
            core,
            collections: Collections::default(),
            names: Arc::default(),
            write_ids: WriteIds::default(),
            outbox: Outbox::default(),
            checksums: VecDeque::new(),
            checksum_every: crate::checksum::EVERY,
            #[cfg(feature = "fault-injection")]
            skips_vv_check: false,
            defers_merging: false,
        }
    }

    /// The shard of this replica, as origin of its deltas.
    #[must_use]
    pub fn origin(&self) -> &OriginShard {
        &self.core.me
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.core.applied
    }

    /// The applied position of each origin shard, this one included.
    #[must_use]
    pub fn vv(&self) -> &VersionVector {
        &self.core.vv
    }

    /// The applied position of `origin`; for this shard's own log, the newest assigned sequence.
    #[must_use]
    pub fn position(&self, origin: &OriginShard) -> Position {
        if *origin == self.core.me {
            return Position { epoch: self.core.epoch, seq: Seq(self.core.next_seq.0 - 1) };
        }
        self.core.vv.position(origin)
    }

    /// The largest stamp seen; the next local one must be larger.
    #[must_use]
    pub fn last_hlc(&self) -> Hlc {
        self.core.last_hlc
    }

    /// The sequence of the next local change.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.core.next_seq
    }

    /// Epoch of this shard's own delta log.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.core.epoch
    }

    /// Behavior version of the group.
    #[must_use]
    pub fn behavior(&self) -> BehaviorVersion {
        self.core.behavior
    }

    /// The newest behavior version that local changes may need, because every region of the replication group has
    /// finalized it. Never later than [`State::behavior`].
    #[must_use]
    pub fn published(&self) -> BehaviorVersion {
        self.core.published
    }

    /// Number of shards of a region, if known.
    #[must_use]
    pub fn origin_shards(&self, region: &RegionName) -> Option<u16> {
        self.core.origin_shards.get(region).copied()
    }

    /// Position from which the link from `origin` reads.
    #[must_use]
    pub fn source_position(&self, origin: &OriginShard) -> Option<SourcePosition> {
        self.core.sources.get(origin).copied()
    }

    /// The bucket table.
    #[must_use]
    pub fn table(&self) -> &BucketTable {
        &self.core.table
    }

    /// The primary region and its term.
    #[must_use]
    pub fn primary(&self) -> (PrimaryTerm, &RegionName) {
        (self.core.primary.0, &self.core.primary.1)
    }

    /// Returns true if the region of this shard is primary.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.core.primary.1 == self.core.me.region
    }

    /// The links to other regions.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.core.links
    }

    /// The entry that set [`State::links`]; 0 if none did.
    #[must_use]
    pub fn links_version(&self) -> LogIndex {
        self.core.links_version
    }

    /// Returns true while `origin` is being seeded: its batches are refused.
    #[must_use]
    pub fn is_seeding(&self, origin: &OriginShard) -> bool {
        self.core.seeds.get(origin).is_some_and(Seeding::takes_chunks)
    }

    /// Injected bug: applies deltas again that were applied before.
    #[cfg(feature = "fault-injection")]
    pub fn skip_vv_check(&mut self) {
        self.skips_vv_check = true;
    }

    /// Injected fault: gives all points this payload, so that the replica differs from its group.
    #[cfg(feature = "fault-injection")]
    pub fn diverge(&mut self, payload: &meridian_model::Payload) {
        self.collections.iter_mut().for_each(|(_, collection)| collection.diverge(payload));
    }

    /// All payloads, for the simulation.
    #[cfg(feature = "fault-injection")]
    pub fn payloads(&self) -> impl Iterator<Item = &str> {
        self.collections
            .values()
            .flat_map(|collection| collection.range(std::ops::Bound::Unbounded).map(|point| &*point.payload.0))
    }

    /// The collection of that name.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&Collection> {
        self.collections.get(self.names.get(name)?)
    }

    /// The collection of that uid.
    #[must_use]
    pub fn collection_by_uid(&self, uid: CollectionUid) -> Option<&Collection> {
        self.collections.get(&uid)
    }

    /// All collections, by uid.
    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    /// The largest known uid; the leader of shard 1 allocates the next one for a new collection.
    #[must_use]
    pub fn largest_uid(&self) -> CollectionUid {
        self.core.largest_uid
    }

    /// Returns true if the uid was dropped here: changes of it do nothing.
    #[must_use]
    pub fn is_dropped(&self, uid: CollectionUid) -> bool {
        self.core.dropped.contains_key(&uid)
    }

    /// The newest dropped collection of that name.
    #[must_use]
    pub fn newest_dropped(&self, name: &CollectionName) -> Option<CollectionUid> {
        let named = |(_, dropped): &(&CollectionUid, &Dropped)| dropped.name.as_ref() == Some(name);
        self.core.dropped.iter().rev().find(named).map(|(uid, _)| *uid)
    }

    /// The result of a part of a recent write.
    #[must_use]
    pub fn write_result(&self, id: WriteId, part: u32) -> Option<&WriteResult> {
        self.write_ids.result(id, part)
    }

    /// Returns true if the result of this part of a write is unknown and may have been dropped; all copies of the write are after
    /// the entry `after`.
    #[must_use]
    pub fn may_have_forgotten(&self, id: WriteId, part: u32, after: LogIndex) -> bool {
        self.write_ids.result(id, part).is_none() && self.write_ids.has_forgotten_behind(after)
    }

    /// Number of vectors that wait to be merged into a graph; until then they are compared exhaustively.
    #[must_use]
    pub fn pending_index(&self) -> usize {
        self.collections.values().map(Collection::pending).sum()
    }

    /// The current view. Cost: some microseconds, independent of the number of collections; afterwards the first change
    /// of a part copies it.
    #[must_use]
    pub fn view(&mut self) -> View {
        View {
            collections: self.collections.views(),
            names: Arc::clone(&self.names),
            vv: self.core.vv.clone(),
            applied: self.core.applied,
            table: self.core.table.version,
        }
    }

    /// Sets whether applying leaves all graph work to [`Self::merge_index`]: while a log is replayed after a start,
    /// which is bounded, answers matter more than graphs.
    pub fn defer_merging(&mut self, defer: bool) {
        self.defers_merging = defer;
        self.collections.iter_mut().for_each(|(_, held)| held.defer_merging(defer));
    }

    /// The collection for the next step of graph work, if there is any: up to 255 vectors of each index wait until
    /// their block is full.
    #[must_use]
    pub fn next_to_merge(&self) -> Option<&Collection> {
        self.collections.next_to_merge()
    }

    /// Makes the next view of that collection a new one although nothing has changed, which releases copies of rows
    /// that no view reads.
    pub fn renew_view_of_next_to_merge(&mut self) {
        self.collections.next_to_merge_mut().into_iter().for_each(Collection::renew_view);
    }

    /// Merges about `most` pending vectors into the graphs; returns their number.
    pub fn merge_index(&mut self, most: usize) -> usize {
        let mut done = 0;
        while done < most
            && let Some(collection) = self.collections.next_to_merge_mut()
        {
            match collection.merge(most - done) {
                0 => break,
                more => done += more,
            }
        }
        done
    }

    /// The sum of hashes of all points: collection, id, vectors, payload, stamp and origin region. The digests of a
    /// region's shards add up to the region's digest; equal regions have equal digests regardless of their shards.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.collections.values().map(Collection::digest).sum()
    }

    pub(crate) fn owns(&self, point: PointId) -> bool {
        self.core.table.shard_of(point) == self.core.me.shard
    }

    /// The uids of all live collections.
    pub(crate) fn live(&self) -> BTreeSet<CollectionUid> {
        self.collections.keys().copied().collect()
    }
}
