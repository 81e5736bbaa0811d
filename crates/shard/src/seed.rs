//! Re-seeding from another region's shard, and serving own points for it.
//!
//! The origin continues to write while its chunks are read, so a chunk may be newer than `Begin::at`: it contains later
//! writes and lacks points deleted later. Points are merged by stamp, so later writes do no harm. Because of later
//! deletes, nothing is removed and no position is claimed before the deltas up to the newest chunk are applied:
//! otherwise a point that was overwritten and then deleted would disappear at the commit, reappear with the first delta
//! and disappear again.
//!
//! ```text
//!   Begin(at) ─► Chunk… ─► Commit(at) ─► RemoteBatch… up to the newest chunk ─► removed, vv moves
//! ```

use std::collections::BTreeSet;
use std::ops::Bound;

use meridian_model::{CollectionDef, CollectionUid, OriginShard, PointId, Position, ShardNumber};
use serde::{Deserialize, Serialize};

use crate::apply::ChangeCounts;
use crate::outcome::Outcome;
use crate::{SeedPoint, SeedStep, SourcePosition, State};

/// Progress of a running seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seeding {
    at: Position,
    largest_uid: CollectionUid,
    collections: BTreeSet<CollectionUid>,
    points: BTreeSet<(CollectionUid, PointId)>,
    /// Position of the origin at the newest chunk.
    upto: Position,
    /// All chunks are merged, and the deltas up to this position.
    following: Option<Position>,
}

impl Seeding {
    pub(crate) fn takes_chunks(&self) -> bool {
        self.following.is_none()
    }
}

/// The next chunk starts after this point.
pub type SeedCursor = (CollectionUid, PointId);

/// Some of a shard's own points, for another region.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedChunk {
    /// All live collections.
    pub collections: Vec<(CollectionUid, CollectionDef)>,
    /// Points by collection and id.
    pub points: Vec<SeedPoint>,
    /// Start of the next chunk; `None` after the last one.
    pub next: Option<SeedCursor>,
}

impl State {
    pub(crate) fn seed(&mut self, origin: &OriginShard, step: &SeedStep, counts: &mut ChangeCounts) -> Outcome {
        if origin.region == self.core.me.region {
            return Outcome::Malformed { origin: origin.clone(), reason: "its origin is this region" };
        }
        if let SeedStep::Begin { at, largest_uid } = step {
            let (at, largest_uid) = (*at, *largest_uid);
            // The replica is behind the version vector here: its deleted points would return permanently.
            if at < self.core.vv.position(origin) {
                return Outcome::SeedRefused { origin: origin.clone() };
            }
            let (collections, points) = (BTreeSet::new(), BTreeSet::new());
            let begun = Seeding { at, largest_uid, collections, points, upto: at, following: None };
            self.core.seeds.insert(origin.clone(), begun);
            return Outcome::SeedBegun { origin: origin.clone() };
        }
        if !self.is_seeding(origin) {
            return Outcome::SeedRefused { origin: origin.clone() };
        }
        let mut seeding = self.core.seeds.remove(origin).expect("it is being seeded");
        match step {
            SeedStep::Chunk { collections, points, read_at } => {
                seeding.upto = seeding.upto.max(*read_at);
                self.take_chunk(origin, seeding, collections, points, counts)
            }
            SeedStep::Commit { position, .. } if *position != seeding.at => {
                let reason = "it ends elsewhere than it began";
                self.core.seeds.insert(origin.clone(), seeding);
                Outcome::Malformed { origin: origin.clone(), reason }
            }
            SeedStep::Commit { position, origin_shards } => {
                self.note_shards(&origin.region, *origin_shards);
                self.core.sources.insert(origin.clone(), SourcePosition::Direct);
                seeding.following = Some(*position);
                self.drop_unlisted(origin, &seeding);
                let removed = self.follow_seed(origin, seeding);
                Outcome::Seeded { origin: origin.clone(), removed }
            }
            SeedStep::Begin { .. } => unreachable!("handled above"),
        }
    }

    /// The position after which deltas of `origin` are needed: after all applied ones, visible or not.
    #[must_use]
    pub fn tail_position(&self, origin: &OriginShard) -> Position {
        let following = self.core.seeds.get(origin).and_then(|seeding| seeding.following);
        following.unwrap_or_else(|| self.core.vv.position(origin))
    }

    /// Called after deltas behind the chunks of a seed were applied. Returns true if there is such a seed.
    pub(crate) fn advance_seed(&mut self, origin: &OriginShard, position: Position) -> bool {
        let Some(mut seeding) = self.core.seeds.remove(origin) else { return false };
        seeding.following = Some(position);
        self.follow_seed(origin, seeding);
        true
    }

    /// Ends the seed if the deltas up to its newest chunk are applied; returns the number of removed points.
    fn follow_seed(&mut self, origin: &OriginShard, seeding: Seeding) -> u64 {
        let reached = seeding.following.filter(|position| *position >= seeding.upto);
        let Some(position) = reached else {
            self.core.seeds.insert(origin.clone(), seeding);
            return 0;
        };
        let removed = self.remove_unseen(origin, &seeding);
        self.core.vv.advance(origin, position);
        removed
    }

    fn take_chunk(
        &mut self,
        origin: &OriginShard,
        mut seeding: Seeding,
        collections: &[(CollectionUid, CollectionDef)],
        points: &[SeedPoint],
        counts: &mut ChangeCounts,
    ) -> Outcome {
        for (uid, def) in collections {
            seeding.collections.insert(*uid);
            // The collection is live at its origin: another one with its name is older and dropped there, or newer.
            self.create(*uid, def, false);
        }
        let before = counts.applied;
        for SeedPoint { collection, point, vectors, payload, stamp } in points {
            self.see(stamp.hlc);
            let held = self.collections.get_mut(collection).filter(|held| held.fits(vectors));
            let ours = self.core.table.shard_of(*point) == self.core.me.shard && stamp.origin == *origin;
            let Some(held) = held.filter(|_| ours) else {
                counts.idle += 1;
                continue;
            };
            let stamp = crate::Stamp { origin: origin.clone(), ..stamp.clone() };
            counts.count(held.upsert(*point, vectors, payload, stamp));
            seeding.points.insert((*collection, *point));
        }
        self.core.seeds.insert(origin.clone(), seeding);
        Outcome::SeedMerged { origin: origin.clone(), points: counts.applied - before }
    }

    /// Drops the collections that did not exist when the seed began. This precedes the later deltas, one of which may
    /// reuse the name.
    fn drop_unlisted(&mut self, origin: &OriginShard, seeding: &Seeding) {
        if origin.shard == ShardNumber::FIRST {
            // Collections that shard 1 dropped in the missed part of its stream. Its list is complete up to the largest
            // uid at the begin.
            let gone = |uid: &CollectionUid| *uid <= seeding.largest_uid && !seeding.collections.contains(uid);
            for uid in self.live().into_iter().filter(gone) {
                self.drop_collection(uid, true);
            }
            for (uid, dropped) in self.core.dropped.range_mut(..=seeding.largest_uid) {
                dropped.decided |= !seeding.collections.contains(uid);
            }
        }
    }

    fn remove_unseen(&mut self, origin: &OriginShard, seeding: &Seeding) -> u64 {
        let mut removed = 0;
        for (uid, collection) in self.collections.iter_mut() {
            let stale = |point: &&crate::collection::Point| {
                let missed = point.stamp.origin == *origin && point.stamp.position() <= seeding.at;
                missed && !seeding.points.contains(&(*uid, point.id))
            };
            let gone: Vec<_> = collection.range(Bound::Unbounded).filter(stale).map(|point| point.id).collect();
            removed += gone.len() as u64;
            for id in gone {
                collection.remove(id);
            }
        }
        removed
    }

    /// The next of this shard's own live points after `after` that `wanted` accepts: about `budget_bytes` of them, and
    /// at least one. [`SeedStep::Begin`] must come from this state or an earlier one, before the first chunk.
    #[must_use]
    pub fn seed_chunk(
        &self,
        after: Option<SeedCursor>,
        budget_bytes: usize,
        wanted: impl Fn(PointId) -> bool,
    ) -> SeedChunk {
        let collections = self.collections.iter().map(|(uid, held)| (*uid, held.def().clone())).collect();
        let mut chunk = SeedChunk { collections, points: Vec::new(), next: None };
        let (mut bytes, mut last) = (0, None);
        let first = after.map_or(CollectionUid(0), |(uid, _)| uid);
        for (uid, collection) in self.collections.range(first..) {
            // In the cursor's collection, points after its point; in later collections, all.
            let behind = match after {
                Some((at, point)) if at == *uid => Bound::Excluded(point),
                _ => Bound::Unbounded,
            };
            let points = collection.range(behind);
            for point in points.filter(|point| point.stamp.origin == self.core.me && wanted(point.id)) {
                if bytes >= budget_bytes && last.is_some() {
                    chunk.next = last;
                    return chunk;
                }
                let vectors = collection.vectors_of(point.slot);
                bytes += vectors.iter().map(|(name, vector)| name.len() + 4 * vector.len() + 8).sum::<usize>();
                bytes += point.payload.0.len() + POINT_OVERHEAD_BYTES;
                last = Some((*uid, point.id));
                let (stamp, payload) = (point.stamp.clone(), point.payload.clone());
                chunk.points.push(SeedPoint { collection: *uid, point: point.id, vectors, payload, stamp });
            }
        }
        chunk
    }

    /// The first step of a seed of this shard's points, to be called before the first [`State::seed_chunk`].
    #[must_use]
    pub fn seed_begin(&self) -> SeedStep {
        let at = Position { epoch: self.core.epoch, seq: meridian_model::Seq(self.core.next_seq.0 - 1) };
        SeedStep::Begin { at, largest_uid: self.core.largest_uid }
    }
}

/// Size of a point besides its vectors and payload, in bytes: id, uid, stamp, lengths.
const POINT_OVERHEAD_BYTES: usize = 96;

#[cfg(test)]
mod tests;
