//! Immutable views of a state, for reads while entries are applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_model::{
    CollectionDef, CollectionName, CollectionUid, Filter, LogIndex, Names, PointId, TableVersion, VectorName, Vectors,
    VersionVector,
};

use crate::Stamp;
use crate::collections::CollectionViews;
use crate::meter::{Meter, Stop};
use crate::read::ReadError;
use crate::records::Records;
use crate::vectors::VectorView;

/// The state at the call of [`crate::State::view`]. It never changes, and any number of threads may read it.
pub struct View {
    pub(crate) collections: CollectionViews,
    pub(crate) names: Arc<BTreeMap<CollectionName, CollectionUid>>,
    pub(crate) vv: VersionVector,
    pub(crate) applied: LogIndex,
    pub(crate) table: TableVersion,
}

/// Points that match a filter, by id, each with the stamp of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matches {
    /// The points.
    pub points: Vec<(PointId, Stamp)>,
    /// Start of the next page; `None` after the last one.
    pub next: Option<PointId>,
    /// The newest entry that the view has applied.
    pub read_at: LogIndex,
}

/// One collection in a view.
pub struct CollectionView {
    pub(crate) uid: CollectionUid,
    pub(crate) def: Arc<CollectionDef>,
    pub(crate) records: Records,
    pub(crate) vectors: BTreeMap<VectorName, VectorView>,
}

impl View {
    /// As [`crate::State::vv`].
    #[must_use]
    pub fn vv(&self) -> &VersionVector {
        &self.vv
    }

    /// The version of the bucket table.
    #[must_use]
    pub fn table(&self) -> TableVersion {
        self.table
    }

    /// The points of `collection` that match `filter`, from the id `from` on, at most `limit`. An unknown collection
    /// has none: it was dropped, or this shard has acknowledged no write of it yet.
    ///
    /// # Errors
    /// [`ReadError::Stopped`] if `stop` returns true.
    pub fn matches(
        &self,
        collection: CollectionUid,
        (filter, from): (&Filter, Option<PointId>),
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Matches, ReadError> {
        let meter = Meter::new(stop);
        let held = self.collections.get(&collection);
        let mut passing = held.into_iter().flat_map(|held| held.passing(filter, from, &meter));
        let points = passing.by_ref().take(limit).map(|point| (point.id, point.stamp.clone())).collect();
        let next = passing.next().map(|point| point.id);
        drop(passing);
        if meter.is_stopped() { Err(ReadError::Stopped) } else { Ok(Matches { points, next, read_at: self.applied }) }
    }

    /// The collection of that name.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&CollectionView> {
        self.collections.get(self.names.get(name)?).map(|held| &**held)
    }

    /// All collections, by uid.
    pub fn collections(&self) -> impl Iterator<Item = &CollectionView> {
        self.collections.into_iter().map(|(_, held)| &**held)
    }
}

impl CollectionView {
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

    /// Vectors in a graph, over all names.
    #[must_use]
    pub fn indexed(&self) -> u64 {
        self.vectors.values().map(VectorView::indexed).sum()
    }

    /// The vectors of the point in `slot` that `names` selects.
    pub(crate) fn vectors_of(&self, slot: u32, names: &Names) -> Vectors {
        let wanted = |name: &VectorName| match names {
            Names::None => false,
            Names::All => true,
            Names::Only(only) => only.contains(name),
        };
        let held = self.vectors.iter().filter(|(name, _)| wanted(name));
        held.filter_map(|(name, index)| Some((name.clone(), index.vector(slot)?.into_owned()))).collect()
    }
}
