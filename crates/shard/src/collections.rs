//! All collections of a shard with their views. The cost of a write is independent of their number: only changed
//! collections are visited, and views share the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use immutable_chunkmap::map::MapS;
use meridian_model::CollectionUid;

use crate::Collection;
use crate::view::CollectionView;

/// Views of all collections. Copies share them.
pub(crate) type CollectionViews = MapS<CollectionUid, Arc<CollectionView>>;

/// The collections by uid. Every mutable access goes through this type, which records the changed ones.
#[derive(Default)]
pub(crate) struct Collections {
    held: BTreeMap<CollectionUid, Collection>,
    /// The views at the last call of [`Self::views`].
    views: CollectionViews,
    /// Collections that may have changed since.
    touched: BTreeSet<CollectionUid>,
    /// Unchanged collections that have graph work.
    can_merge: BTreeSet<CollectionUid>,
}

impl Deref for Collections {
    type Target = BTreeMap<CollectionUid, Collection>;

    fn deref(&self) -> &Self::Target {
        &self.held
    }
}

impl Collections {
    pub(crate) fn get_mut(&mut self, uid: &CollectionUid) -> Option<&mut Collection> {
        let held = self.held.get_mut(uid)?;
        self.touched.insert(*uid);
        Some(held)
    }

    pub(crate) fn insert(&mut self, uid: CollectionUid, collection: Collection) {
        self.touched.insert(uid);
        self.held.insert(uid, collection);
    }

    pub(crate) fn remove(&mut self, uid: &CollectionUid) -> Option<Collection> {
        self.touched.insert(*uid);
        self.held.remove(uid)
    }

    /// All collections, mutably.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&CollectionUid, &mut Collection)> {
        self.touched.extend(self.held.keys());
        self.held.iter_mut()
    }

    /// The current views. Cost: proportional to the collections changed since the last call.
    pub(crate) fn views(&mut self) -> CollectionViews {
        for uid in std::mem::take(&mut self.touched) {
            let Some(held) = self.held.get_mut(&uid) else {
                self.views.remove_cow(&uid);
                self.can_merge.remove(&uid);
                continue;
            };
            self.views.insert_cow(uid, held.view());
            if held.can_merge() {
                self.can_merge.insert(uid);
            } else {
                self.can_merge.remove(&uid);
            }
        }
        self.views.clone()
    }

    /// The first collection that has graph work.
    pub(crate) fn next_to_merge(&self) -> Option<&Collection> {
        let candidates = self.can_merge.iter().chain(&self.touched);
        candidates.filter_map(|uid| self.held.get(uid)).find(|held| held.can_merge())
    }

    pub(crate) fn next_to_merge_mut(&mut self) -> Option<&mut Collection> {
        let uid = self.next_to_merge()?.uid();
        self.get_mut(&uid)
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::{Distance, Op};

    use super::*;
    use crate::fixture::{Shard, def, upsert, write};

    /// A shard of many collections, after a view was taken.
    fn of_many() -> (Shard, u64) {
        let mut shard = Shard::new("us", 1, 1);
        let create = |uid: u64| {
            let def = def(&format!("c{uid}"), Distance::Dot);
            write(u128::from(uid), uid * 10, vec![Op::CreateCollection { uid: CollectionUid(uid), def }])
        };
        (1..=200).for_each(|uid| drop(shard.commit(create(uid))));
        drop(shard.state.view());
        (shard, 200)
    }

    #[test]
    fn a_write_renews_only_the_view_of_its_collection() {
        let (mut shard, count) = of_many();
        let before = shard.state.view();
        shard.commit(write(1_000, 9_000, vec![upsert(1, 1, 1, 1)]));
        assert_eq!(shard.state.collections.touched, BTreeSet::from([CollectionUid(1)]));
        let after = shard.state.view();
        let same = |uid: &CollectionUid| {
            let of = |view: &crate::View| Arc::as_ptr(view.collections.get(uid).expect("it is there"));
            of(&before) == of(&after)
        };
        let anew: Vec<u64> = (1..=count).filter(|uid| !same(&CollectionUid(*uid))).collect();
        assert_eq!(anew, [1]);
        assert_eq!((before.collections.len(), after.collections.len()), (200, 200));
    }

    #[test]
    fn a_view_shows_inserts_and_deletes() {
        let (mut shard, count) = of_many();
        let before = shard.state.view();
        shard.commit(write(1_000, 9_000, vec![Op::DropCollection { uid: CollectionUid(7) }]));
        let after = shard.state.view();
        assert!(
            before.collections.get(&CollectionUid(7)).is_some() && after.collections.get(&CollectionUid(7)).is_none()
        );
        assert_eq!(after.collections().count() as u64, count - 1);
        assert!(shard.state.next_to_merge().is_none());
    }

    #[test]
    fn graph_work_is_found_without_a_look_at_the_other_collections() {
        let (mut shard, _) = of_many();
        shard.commit(write(1_000, 9_000, (0..300).map(|point| upsert(7, point, 1, 1)).collect()));
        drop(shard.state.view());
        let collections = &shard.state.collections;
        assert_eq!((&collections.can_merge, collections.touched.len()), (&BTreeSet::from([CollectionUid(7)]), 0));
        let next = shard.state.next_to_merge().expect("a block of 256 is full");
        assert_eq!((next.uid(), next.pending()), (CollectionUid(7), 300));
        shard.state.renew_view_of_next_to_merge();
        assert_eq!(shard.state.collections.touched, BTreeSet::from([CollectionUid(7)]));
    }
}
