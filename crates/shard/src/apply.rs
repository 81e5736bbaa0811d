//! The effect of each kind of entry. No clock, no randomness, no hash-map order: replicas must agree.

use std::sync::Arc;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Epoch, Hlc, LogIndex, Op, Position, PrimaryTerm,
    Seq, ShardNumber, TableVersion, VersionUnknown, WriteId,
};

use crate::collection::Collection;
use crate::outcome::{Applied, CollectionChange, Outcome};
use crate::state::Dropped;
use crate::{Entry, Links, Located, Stamp, State, Topology, Write, WriteResult};

/// Number of changes with and without an effect.
#[derive(Debug, Default)]
pub(crate) struct ChangeCounts {
    pub(crate) applied: u64,
    pub(crate) idle: u64,
    pub(crate) collection: Option<CollectionChange>,
}

impl ChangeCounts {
    pub(crate) fn count(&mut self, took_place: bool) {
        if took_place {
            self.applied += 1;
        } else {
            self.idle += 1;
        }
    }
}

impl State {
    /// Applies the committed entry at `index` of the log. Entries are passed in order without gaps; one that was
    /// applied before changes nothing.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Applied {
        let before = self.core.applied;
        let mut counts = ChangeCounts::default();
        if index <= before {
            return Applied { outcome: Outcome::Repeated, ops_applied: 0, ops_idle: 0, checksum: None };
        }
        let outcome = match entry {
            Entry::Version(version) => match VersionUnknown::check(*version) {
                Err(unknown) => {
                    let outcome = Outcome::VersionUnknown(unknown);
                    return Applied { outcome, ops_applied: 0, ops_idle: 0, checksum: None };
                }
                Ok(()) if *version > self.core.behavior => {
                    self.core.behavior = *version;
                    Outcome::VersionSwitched(*version)
                }
                Ok(()) => Outcome::Nothing,
            },
            Entry::Publish(version) => self.publish(*version),
            Entry::Noop => Outcome::Nothing,
            Entry::BeginEpoch { epoch } => self.begin_epoch(*epoch),
            Entry::Write(write) => self.write(index, write, &mut counts),
            Entry::ConditionalWrite(write) => self.conditional_write(index, write, &mut counts),
            Entry::RemoteBatch(batch) => self.merge_batch(batch, &mut counts),
            Entry::Seed { origin, step } => self.seed(origin, step, &mut counts),
            Entry::Topology(topology) => self.change_topology(topology),
            Entry::Links(links) => self.change_links(index, links),
            Entry::Checksum { at, hash } => {
                self.take_checksum_named(*at);
                match self.agrees(*at, hash) {
                    Some(false) => Outcome::ChecksumDiffers { at: *at },
                    Some(true) | None => Outcome::ChecksumHeld,
                }
            }
        };
        self.core.applied = index;
        let checksum = self.take_checksum(before);
        Applied { outcome, ops_applied: counts.applied, ops_idle: counts.idle, checksum }
    }

    fn write(&mut self, index: LogIndex, write: &Write, counts: &mut ChangeCounts) -> Outcome {
        let (id, part) = (write.id, write.part);
        match self.settled((id, part), write.term, write.table, write.sent_at) {
            Some(outcome) => outcome,
            None => Outcome::written(id, part, self.write_anew(index, write, counts), false),
        }
    }

    /// The outcome of a write that is not applied: the result of its first copy, the loss of that result, the end of
    /// its primary term, or the table that replaced its own. All its copies are after the entry `after`.
    pub(crate) fn settled(
        &self,
        (id, part): (WriteId, u32),
        term: PrimaryTerm,
        table: TableVersion,
        after: LogIndex,
    ) -> Option<Outcome> {
        let (held, held_term) = (self.core.table.version, self.core.primary.0);
        match self.write_ids.result(id, part) {
            Some(result) => Some(Outcome::written(id, part, result.clone(), true)),
            None if self.write_ids.has_forgotten_behind(after) => Some(Outcome::ResultForgotten { id, part }),
            None if term < held_term => Some(Outcome::TermEnded { id, part, held: held_term }),
            None if table != held => Some(Outcome::TableChanged { id, part, held }),
            None => None,
        }
    }

    /// Local changes may need `version` from here on, if this group has finalized it.
    fn publish(&mut self, version: BehaviorVersion) -> Outcome {
        let held = self.core.behavior;
        if version > held {
            return Outcome::PublishRefused { held };
        }
        if version <= self.core.published {
            return Outcome::Nothing;
        }
        self.core.published = version;
        Outcome::Published(version)
    }

    /// Starts the next epoch of the own log, from sequence 1. Earlier changes keep their epoch.
    fn begin_epoch(&mut self, epoch: Epoch) -> Outcome {
        let held = self.core.epoch;
        if held.0.checked_add(1) != Some(epoch.0) {
            return Outcome::BeginEpochRefused { held };
        }
        self.core.ended.insert(held, Seq(self.core.next_seq.0 - 1));
        (self.core.epoch, self.core.next_seq) = (epoch, Seq(1));
        let me = self.core.me.clone();
        self.core.vv.advance(&me, Position { epoch, seq: Seq(0) });
        Outcome::EpochBegun(epoch)
    }

    fn write_anew(&mut self, index: LogIndex, write: &Write, counts: &mut ChangeCounts) -> WriteResult {
        let (first, me, epoch) = (self.core.next_seq, self.core.me.clone(), self.core.epoch);
        for (i, op) in write.ops.iter().enumerate() {
            let stamp = Stamp { hlc: write.stamp(i), origin: me.clone(), epoch, seq: self.core.next_seq };
            self.see(stamp.hlc);
            self.core.next_seq = stamp.seq.next();
            self.change(op, stamp, counts);
        }
        let last = Seq(self.core.next_seq.0 - 1);
        if !write.ops.is_empty() {
            self.core.vv.advance(&me, Position { epoch, seq: last });
            self.outbox.push(Located { index, epoch, first });
        }
        let (collection, retry) = (counts.collection.clone(), Vec::new());
        let result = WriteResult { epoch, first, last, hlc: write.hlc, collection, retry };
        self.write_ids.record(write.id, write.part, index, result.clone());
        result
    }

    /// Applies one change of any origin. A change of a dead collection does nothing in any region, since the drop
    /// precedes it in the same stream. A leader proposes no change of a uid that it does not know
    /// ([`State::check_write`]): it would do nothing here, but not in a region that knows the uid from another stream.
    pub(crate) fn change(&mut self, op: &Op, stamp: Stamp, counts: &mut ChangeCounts) {
        match op {
            Op::Upsert { collection, point, vectors, payload } => {
                let held = self.collections.get_mut(collection).filter(|held| held.fits(vectors));
                counts.count(held.is_some_and(|held| held.upsert(*point, vectors, payload, stamp)));
            }
            Op::Delete { collection, point } => {
                counts.count(self.collections.get_mut(collection).is_some_and(|held| held.delete(*point, &stamp)));
            }
            Op::CreateCollection { uid, def } => {
                let decides = stamp.origin.shard == ShardNumber::FIRST;
                counts.collection = Some(self.create(*uid, def, decides));
            }
            Op::DropCollection { uid } => {
                let existed = self.drop_collection(*uid, stamp.origin.shard == ShardNumber::FIRST);
                counts.collection = Some(CollectionChange::Dropped { existed });
            }
            Op::Nothing => counts.count(false),
        }
    }

    /// Creates a collection. Shard 1 decides on names: in its stream the first collection gets the name. Streams of
    /// other shards repeat its decisions, possibly early or late: in them the newer uid gets the name, since shard 1
    /// must have dropped the older one.
    pub(crate) fn create(&mut self, uid: CollectionUid, def: &CollectionDef, decides: bool) -> CollectionChange {
        self.core.largest_uid = self.core.largest_uid.max(uid);
        if let Some(held) = self.collections.get(&uid) {
            return if held.def() == def { CollectionChange::Known(uid) } else { CollectionChange::Dead(uid) };
        }
        if self.core.dropped.contains_key(&uid) {
            return CollectionChange::Dead(uid);
        }
        let named = self.names.get(&def.name).copied();
        if decides {
            let undecided = |(_, dropped): &(&CollectionUid, &Dropped)| {
                !dropped.decided && dropped.name.as_ref() == Some(&def.name)
            };
            let earlier = self.core.dropped.range(..uid).find(undecided).map(|(earlier, _)| *earlier);
            if let Some(by) = named.filter(|named| *named < uid).or(earlier) {
                self.bury(uid, None, true);
                return CollectionChange::NameTaken { by };
            }
        }
        let Ok(mut collection) = Collection::new(uid, def.clone()) else {
            self.bury(uid, None, decides);
            return CollectionChange::Dead(uid);
        };
        collection.defer_merging(self.defers_merging);
        match named {
            Some(newer) if newer > uid => {
                self.bury(uid, Some(def.name.clone()), false);
                return CollectionChange::Dead(uid);
            }
            Some(older) => {
                self.drop_collection(older, false);
            }
            None => {}
        }
        Arc::make_mut(&mut self.names).insert(def.name.clone(), uid);
        self.collections.insert(uid, collection);
        CollectionChange::Created(uid)
    }

    /// Drops a collection, known or not. Returns true if it existed. `decides`: as in [`State::create`].
    pub(crate) fn drop_collection(&mut self, uid: CollectionUid, decides: bool) -> bool {
        self.core.largest_uid = self.core.largest_uid.max(uid);
        let Some(gone) = self.collections.remove(&uid) else {
            self.bury(uid, None, decides);
            return false;
        };
        Arc::make_mut(&mut self.names).remove(&gone.def().name);
        self.bury(uid, Some(gone.def().name.clone()), decides);
        true
    }

    fn bury(&mut self, uid: CollectionUid, name: Option<CollectionName>, decided: bool) {
        let dropped = self.core.dropped.entry(uid).or_insert(Dropped { name: None, decided: false });
        dropped.decided |= decided;
        dropped.name = dropped.name.take().or(name);
    }

    fn change_topology(&mut self, topology: &Topology) -> Outcome {
        let held = self.core.table.version;
        let refused = Outcome::TopologyRefused { held };
        let Topology { expects, table, term, primary } = topology;
        let (held_term, held_primary) = &self.core.primary;
        let table_moves = table.version > held || *table == self.core.table;
        let primary_moves = term > held_term || (term == held_term && primary == held_primary);
        if *expects != held || !table_moves || !primary_moves || self.core.me.shard.number() > table.shards() {
            return refused;
        }
        self.core.table = table.clone();
        self.core.primary = (*term, primary.clone());
        self.core.origin_shards.insert(self.core.me.region.clone(), table.shards());
        Outcome::TopologyChanged
    }

    fn change_links(&mut self, index: LogIndex, links: &Links) -> Outcome {
        if links.expects != self.core.links_version {
            return Outcome::LinksRefused { held: self.core.links_version };
        }
        self.core.links = links.links.clone();
        self.core.links_version = index;
        Outcome::LinksChanged
    }

    /// Records a stamp: later local stamps are larger.
    pub(crate) fn see(&mut self, hlc: Hlc) {
        self.core.last_hlc = self.core.last_hlc.max(hlc);
    }
}

#[cfg(test)]
mod tests;
