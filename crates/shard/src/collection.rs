//! The points of one collection in this shard.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use meridian_ann::ConfigError;
use meridian_model::{CollectionDef, CollectionUid, Payload, PointId, VectorDef, VectorName, Vectors};

use crate::records::Records;
use crate::vectors::VectorIndex;
use crate::view::CollectionView;
use crate::{Digest, Stamp};

/// The points of one collection in this shard.
pub struct Collection {
    uid: CollectionUid,
    def: Arc<CollectionDef>,
    pub(crate) records: Records,
    pub(crate) vectors: BTreeMap<VectorName, VectorIndex>,
    digest: Digest,
    places: Digest,
    /// The current view, if nothing has changed since it was taken.
    seen: Option<Arc<CollectionView>>,
}

/// A point without its vectors, which the indexes hold under its slot.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) id: PointId,
    pub(crate) slot: u32,
    pub(crate) stamp: Stamp,
    pub(crate) payload: Payload,
    /// Hash of everything that regions agree on. It is stored because an overwritten vector is gone when its part of
    /// the sum must be subtracted.
    hash: [u8; 32],
}

impl Collection {
    /// # Errors
    /// A parameter of a vector is outside its range.
    pub(crate) fn new(uid: CollectionUid, def: CollectionDef) -> Result<Self, ConfigError> {
        let seeded = def.vectors.iter().enumerate();
        let index = |(n, (name, def)): (usize, (&VectorName, &VectorDef))| {
            Ok((name.clone(), VectorIndex::new(*def, seed(uid, n))?))
        };
        let vectors = seeded.map(index).collect::<Result<_, _>>()?;
        Ok(Self::with(uid, def, vectors, Records::new(0)))
    }

    /// A collection without points and with the indexes of a snapshot; the points follow through
    /// [`Collection::put_back`].
    pub(crate) fn with(
        uid: CollectionUid,
        def: CollectionDef,
        vectors: BTreeMap<VectorName, VectorIndex>,
        records: Records,
    ) -> Self {
        let (digest, places) = Default::default();
        Self { uid, def: Arc::new(def), records, vectors, digest, places, seen: None }
    }

    /// The current view.
    pub(crate) fn view(&mut self) -> Arc<CollectionView> {
        let Self { uid, def, records, vectors, seen, .. } = self;
        let view = seen.get_or_insert_with(|| {
            let vectors = vectors.iter_mut().map(|(name, index)| (name.clone(), index.view())).collect();
            Arc::new(CollectionView { uid: *uid, def: Arc::clone(def), records: records.view(), vectors })
        });
        Arc::clone(view)
    }

    /// Like [`crate::State::defer_merging`], for all its vectors.
    pub(crate) fn defer_merging(&mut self, defer: bool) {
        self.vectors.values_mut().for_each(|index| index.defer_merging(defer));
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> CollectionUid {
        self.uid
    }

    /// Its definition.
    #[must_use]
    pub fn def(&self) -> &CollectionDef {
        &self.def
    }

    /// Live points in this shard.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.records.len() as u64
    }

    /// Changes of vectors that wait to be merged into a graph, over all names. Some wait until a block is full.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.vectors.values().map(VectorIndex::pending).sum()
    }

    /// Sum of hashes of its points that all regions agree on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Sum of hashes of its points that the replicas of this shard agree on.
    pub(crate) fn places(&self) -> Digest {
        self.places
    }

    /// The point of that id.
    pub(crate) fn point(&self, id: PointId) -> Option<&Point> {
        self.records.point(id)
    }

    /// Points by id, from a bound on.
    pub(crate) fn range(&self, from: Bound<PointId>) -> impl Iterator<Item = &Point> {
        self.records.range(from)
    }

    /// Returns true if every vector has a name and the length of the definition, and finite numbers.
    pub(crate) fn fits(&self, vectors: &Vectors) -> bool {
        vectors.iter().all(|(name, vector)| {
            let dim = self.def.vectors.get(name).map(|def| def.dim as usize);
            dim == Some(vector.len()) && vector.iter().all(|x| x.is_finite())
        })
    }

    /// Inserts or replaces a point, unless the existing one has a stamp that is not smaller. `vectors` must fit.
    pub(crate) fn upsert(&mut self, id: PointId, vectors: &Vectors, payload: &Payload, stamp: Stamp) -> bool {
        let held = self.point(id);
        if held.is_some_and(|held| held.stamp >= stamp) {
            return false;
        }
        let held = held.map(|held| held.slot);
        let slot = held.unwrap_or_else(|| self.records.slots().next());
        for (name, index) in &mut self.vectors {
            match vectors.get(name) {
                Some(vector) => index.upsert(slot, vector),
                None => index.delete(slot),
            }
        }
        let hash =
            content_hash(self.uid, id, vectors.iter().map(|(n, v)| (n, Cow::Borrowed(v.as_slice()))), payload, &stamp);
        let point = Point { id, slot, stamp, payload: payload.clone(), hash };
        if held.is_some() { self.replace(point) } else { self.put_in(point) }
    }

    /// Removes a point, unless it has a stamp that is not smaller.
    pub(crate) fn delete(&mut self, id: PointId, stamp: &Stamp) -> bool {
        match self.point(id) {
            Some(held) if held.stamp < *stamp => self.remove(id),
            _ => false,
        }
    }

    /// Removes a point regardless of its stamp.
    pub(crate) fn remove(&mut self, id: PointId) -> bool {
        let Some(slot) = self.take_out(id) else { return false };
        self.vectors.values_mut().for_each(|index| index.delete(slot));
        true
    }

    /// See [`crate::State::diverge`].
    #[cfg(feature = "fault-injection")]
    pub(crate) fn diverge(&mut self, payload: &Payload) {
        let held: Vec<_> =
            self.range(Bound::Unbounded).map(|point| (point.id, point.slot, point.stamp.clone())).collect();
        for (id, slot, stamp) in held {
            self.take_out(id);
            self.put_back(id, slot, stamp, payload.clone());
        }
    }

    /// Restores a point of a snapshot, whose vectors are in the indexes. Returns false if its id or slot is taken.
    pub(crate) fn put_back(&mut self, id: PointId, slot: u32, stamp: Stamp, payload: Payload) -> bool {
        let vectors = self.vectors.iter().filter_map(|(name, index)| Some((name, index.vector(slot)?)));
        let hash = content_hash(self.uid, id, vectors, &payload, &stamp);
        self.put_in(Point { id, slot, stamp, payload, hash })
    }

    /// Returns true if every vector in the indexes belongs to a point.
    pub(crate) fn is_whole(&self) -> bool {
        self.vectors.values().all(|index| {
            let held = self.range(Bound::Unbounded).filter(|point| index.contains(point.slot)).count();
            held == index.len()
        })
    }

    /// Returns false if the id or the slot is taken.
    fn put_in(&mut self, point: Point) -> bool {
        let (hash, place) = (point.hash, self.place(&point));
        let fits = self.records.put(point);
        if fits {
            self.seen = None;
            self.digest += Digest::of(hash);
            self.places += place;
        }
        fits
    }

    /// Replaces the point of the same id in the same slot. Returns false if there is none.
    fn replace(&mut self, point: Point) -> bool {
        let (hash, place) = (point.hash, self.place(&point));
        let Some(before) = self.records.replace(point) else { return false };
        self.seen = None;
        self.digest -= Digest::of(before.hash);
        self.digest += Digest::of(hash);
        self.places -= self.place(&before);
        self.places += place;
        true
    }

    /// Removes the record; the caller removes the vectors.
    fn take_out(&mut self, id: PointId) -> Option<u32> {
        let point = self.records.take(id)?;
        self.seen = None;
        self.digest -= Digest::of(point.hash);
        self.places -= self.place(&point);
        Some(point.slot)
    }

    fn place(&self, point: &Point) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hash_id(&mut hasher, self.uid, point.id);
        hasher.update(&point.slot.to_le_bytes());
        hasher.update(&point.stamp.origin.shard.number().to_le_bytes());
        hasher.update(&point.stamp.epoch.0.to_le_bytes());
        hasher.update(&point.stamp.seq.0.to_le_bytes());
        Digest::of(*hasher.finalize().as_bytes())
    }

    /// The vectors of the point in `slot`.
    pub(crate) fn vectors_of(&self, slot: u32) -> Vectors {
        let held = self.vectors.iter();
        held.filter_map(|(name, index)| Some((name.clone(), index.vector(slot)?.into_owned()))).collect()
    }

    /// Makes the next call of [`Self::view`] build a new view although nothing has changed.
    pub(crate) fn renew_view(&mut self) {
        self.seen = None;
    }

    /// Rows of the index with the most of them that exist twice because a view may read the old version.
    #[must_use]
    pub fn copied(&self) -> usize {
        self.vectors.values().map(VectorIndex::copied).max().unwrap_or(0)
    }

    /// Returns true if [`Self::merge`] has work.
    pub(crate) fn can_merge(&self) -> bool {
        self.vectors.values().any(|index| index.can_merge())
    }

    /// Moves up to `most` pending vectors into the graphs; returns their number.
    pub(crate) fn merge(&mut self, most: usize) -> usize {
        let mut done = 0;
        self.seen = None;
        for index in self.vectors.values_mut() {
            if done < most {
                done += index.merge(most - done);
            }
        }
        done
    }
}

/// Seed of a graph: equal on every replica; it need not be unpredictable.
pub(crate) fn seed(uid: CollectionUid, nth_vector: usize) -> u64 {
    uid.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ nth_vector as u64
}

fn hash_id(hasher: &mut blake3::Hasher, uid: CollectionUid, id: PointId) {
    hasher.update(&uid.0.to_le_bytes());
    match id {
        PointId::Num(number) => hasher.update(&[0]).update(&number.to_le_bytes()),
        PointId::Uuid(uuid) => hasher.update(&[1]).update(&uuid.to_be_bytes()),
    };
}

/// Every part has a fixed length or a length prefix, so different points have different bytes.
fn content_hash<'a>(
    uid: CollectionUid,
    id: PointId,
    vectors: impl Iterator<Item = (&'a VectorName, Cow<'a, [f32]>)>,
    payload: &Payload,
    stamp: &Stamp,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let text = |hasher: &mut blake3::Hasher, text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    hash_id(&mut hasher, uid, id);
    hasher.update(&stamp.hlc.0.to_le_bytes());
    text(&mut hasher, stamp.origin.region.as_str());
    text(&mut hasher, &payload.0);
    let mut bytes = Vec::new();
    for (name, vector) in vectors {
        text(&mut hasher, name);
        bytes.clear();
        bytes.extend((vector.len() as u64).to_le_bytes());
        vector.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}
