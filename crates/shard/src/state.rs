//! One replica's state, and what others may ask of it.

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

/// Who a replica is, and what its group was bootstrapped with. The same on all replicas of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its region.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
    /// How many shards the region has.
    pub shards: u16,
    /// Which region takes writes, under which term.
    pub primary: (PrimaryTerm, RegionName),
    /// Behavior version of the group at its first entry.
    pub behavior: BehaviorVersion,
}

/// One replica's state. All of it is in the snapshot, and only [`State::apply`] changes it.
pub struct State {
    pub(crate) core: Core,
    pub(crate) collections: Collections,
    pub(crate) names: Arc<BTreeMap<CollectionName, CollectionUid>>,
    pub(crate) write_ids: WriteIds,
    pub(crate) outbox: Outbox,
    /// Checksums of the last places where one was due, oldest first.
    pub(crate) checksums: VecDeque<(LogIndex, [u8; 32])>,
    /// How many entries lie between two checksums.
    pub(crate) checksum_every: u64,
    /// See [`State::skip_vv_check`].
    #[cfg(feature = "fault-injection")]
    pub(crate) skips_vv_check: bool,
    /// See [`State::defer_merging`].
    pub(crate) defers_merging: bool,
}

/// The small part of the state: written whole into the snapshot and the checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Core {
    /// By which rules entries are applied; the form in which snapshots are written.
    pub(crate) behavior: BehaviorVersion,
    /// Stands in [`CoreSince2`], and is [`BehaviorVersion::FIRST`] in groups that have none.
    #[serde(skip, default = "first")]
    pub(crate) published: BehaviorVersion,
    pub(crate) me: OriginShard,
    pub(crate) applied: LogIndex,
    pub(crate) table: BucketTable,
    pub(crate) primary: (PrimaryTerm, RegionName),
    /// Incarnation of the own delta log.
    pub(crate) epoch: Epoch,
    /// Last sequence of each incarnation before it.
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
    /// The entry that set them.
    pub(crate) links_version: LogIndex,
}

/// What behavior version 2 adds to the core. It stands behind the core in snapshot and checksum; replicas of groups that
/// have not finalized that version may know nothing of it.
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

/// A collection that is gone, and must not come back by a record of it that comes late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped {
    /// What it was called, if it ever was here.
    pub(crate) name: Option<CollectionName>,
    /// The stream of the shard that decides on collections has told of the drop. Until then a create in that stream
    /// was decided while this one was there.
    pub(crate) decided: bool,
}

impl State {
    /// The state before the first entry.
    ///
    /// # Errors
    /// When the number of shards is out of bounds.
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

    /// The shard this is a replica of, as the origin of its deltas.
    #[must_use]
    pub fn origin(&self) -> &OriginShard {
        &self.core.me
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.core.applied
    }

    /// What is applied of each origin shard, this one included.
    #[must_use]
    pub fn vv(&self) -> &VersionVector {
        &self.core.vv
    }

    /// What is applied of `origin`: of this shard's own log, the newest sequence given.
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

    /// The sequence that the next local change gets.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.core.next_seq
    }

    /// Incarnation of this shard's own delta log.
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

    /// How many shards a region has, as far as it was heard.
    #[must_use]
    pub fn origin_shards(&self, region: &RegionName) -> Option<u16> {
        self.core.origin_shards.get(region).copied()
    }

    /// Where the link from `origin` reads on.
    #[must_use]
    pub fn source_position(&self, origin: &OriginShard) -> Option<SourcePosition> {
        self.core.sources.get(origin).copied()
    }

    /// Who owns which bucket.
    #[must_use]
    pub fn table(&self) -> &BucketTable {
        &self.core.table
    }

    /// Which region takes writes, under which term.
    #[must_use]
    pub fn primary(&self) -> (PrimaryTerm, &RegionName) {
        (self.core.primary.0, &self.core.primary.1)
    }

    /// Whether the region of this shard takes writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.core.primary.1 == self.core.me.region
    }

    /// Which regions are followed, and how.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.core.links
    }

    /// The entry that set [`State::links`]; 0 when none did.
    #[must_use]
    pub fn links_version(&self) -> LogIndex {
        self.core.links_version
    }

    /// True while chunks of `origin` are being loaded: its own batches are refused.
    #[must_use]
    pub fn is_seeding(&self, origin: &OriginShard) -> bool {
        self.core.seeds.get(origin).is_some_and(Seeding::takes_chunks)
    }

    /// Applies deltas again that were applied before: a bug, injected by the simulation.
    #[cfg(feature = "fault-injection")]
    pub fn skip_vv_check(&mut self) {
        self.skips_vv_check = true;
    }

    /// Gives all points this payload, as if apply had: a replica that differs from its group, made on purpose by the
    /// simulation.
    #[cfg(feature = "fault-injection")]
    pub fn diverge(&mut self, payload: &meridian_model::Payload) {
        self.collections.iter_mut().for_each(|(_, collection)| collection.diverge(payload));
    }

    /// All payloads, for the simulation to look at.
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

    /// The largest uid heard of; shard 1's leader gives the next one to a new collection.
    #[must_use]
    pub fn largest_uid(&self) -> CollectionUid {
        self.core.largest_uid
    }

    /// True when the uid was dropped here: what names it does nothing.
    #[must_use]
    pub fn is_dropped(&self, uid: CollectionUid) -> bool {
        self.core.dropped.contains_key(&uid)
    }

    /// The newest collection of that name that was here and was dropped.
    #[must_use]
    pub fn newest_dropped(&self, name: &CollectionName) -> Option<CollectionUid> {
        let named = |(_, dropped): &(&CollectionUid, &Dropped)| dropped.name.as_ref() == Some(name);
        self.core.dropped.iter().rev().find(named).map(|(uid, _)| *uid)
    }

    /// What a recent write got.
    #[must_use]
    pub fn write_result(&self, id: WriteId, part: u32) -> Option<&WriteResult> {
        self.write_ids.result(id, part)
    }

    /// Whether the result of a write is not known and may have been forgotten; all copies of the write stand behind the entry
    /// `after`.
    #[must_use]
    pub fn may_have_forgotten(&self, id: WriteId, part: u32, after: LogIndex) -> bool {
        self.write_ids.result(id, part).is_none() && self.write_ids.has_forgotten_behind(after)
    }

    /// Vectors that wait to be merged into a graph; until then they are compared one by one.
    #[must_use]
    pub fn pending_index(&self) -> usize {
        self.collections.values().map(Collection::pending).sum()
    }

    /// What reads see now. Cost: some microseconds, whatever the number of collections, and the next change of anything costs a copy of a piece around it.
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

    /// Whether applying leaves all graph work to [`Self::merge_index`]: while a log is applied again after a start, which is bounded,
    /// answers matter more than graphs.
    pub fn defer_merging(&mut self, defer: bool) {
        self.defers_merging = defer;
        self.collections.iter_mut().for_each(|(_, held)| held.defer_merging(defer));
    }

    /// The collection that the next step of graph work is for, if any has some to do: up to 255 vectors of each index wait for
    /// their block to be full.
    #[must_use]
    pub fn next_to_merge(&self) -> Option<&Collection> {
        self.collections.next_to_merge()
    }

    /// Has the next view of that collection be made anew, though nothing has changed. That finds out which copies of rows
    /// nobody looks at any more.
    pub fn renew_view_of_next_to_merge(&mut self) {
        self.collections.next_to_merge_mut().into_iter().for_each(Collection::renew_view);
    }

    /// Merges up to about `most` waiting vectors into the graphs, and says how many.
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

    /// The sum over all points of collection, id, vectors, payload, stamp and origin region. The digests of a region's
    /// shards add up to the region's; equal regions have equal digests whatever their shards.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.collections.values().map(Collection::digest).sum()
    }

    pub(crate) fn owns(&self, point: PointId) -> bool {
        self.core.table.shard_of(point) == self.core.me.shard
    }

    /// The ids of all collections, live ones.
    pub(crate) fn live(&self) -> BTreeSet<CollectionUid> {
        self.collections.keys().copied().collect()
    }
}
