//! The points of a collection without their vectors: by id, and by slot.

use std::ops::Bound;
use std::sync::Arc;

use immutable_chunkmap::map::{DEFAULT_SIZE, MapS, NodeRef};
use meridian_model::PointId;

use crate::collection::Point;
use crate::slots::Slots;

/// Points by id and by slot. Views share unchanged parts.
#[derive(Debug)]
pub(crate) struct Records {
    ids: MapS<PointId, u32>,
    slots: Slots<Point>,
}

impl Records {
    /// No points, on so many slots.
    pub(crate) fn new(slots: u32) -> Self {
        Self { ids: MapS::new(), slots: Slots::free(slots) }
    }

    /// A view of the current points.
    pub(crate) fn view(&self) -> Self {
        Self { ids: self.ids.clone(), slots: self.slots.view() }
    }

    /// Like [`Self::view`], with the free slots.
    pub(crate) fn image(&self) -> Self {
        Self { ids: self.ids.clone(), slots: self.slots.image() }
    }

    /// Number of points.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn slots(&self) -> &Slots<Point> {
        &self.slots
    }

    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<&Point> {
        self.slots.at(slot)
    }

    pub(crate) fn point(&self, id: PointId) -> Option<&Point> {
        self.at(*self.ids.get(&id)?)
    }

    /// Points by id, from a bound on.
    pub(crate) fn range(&self, from: Bound<PointId>) -> impl Iterator<Item = &Point> {
        Ascending::from(from, self.ids.root()).map(|slot| self.at(slot).expect("an id names a slot that is taken"))
    }

    /// Returns false if the id or the slot is taken.
    pub(crate) fn put(&mut self, point: Point) -> bool {
        let (id, slot) = (point.id, point.slot);
        let fits = self.ids.get(&id).is_none() && self.slots.put(slot, point);
        if fits {
            self.ids.insert_cow(id, slot);
        }
        fits
    }

    /// Replaces a point of the same id and slot, and returns the former one. Without a former one nothing changes.
    pub(crate) fn replace(&mut self, point: Point) -> Option<Arc<Point>> {
        let slot = point.slot;
        self.at(slot).filter(|held| held.id == point.id)?;
        self.slots.replace(slot, point)
    }

    pub(crate) fn take(&mut self, id: PointId) -> Option<Arc<Point>> {
        let slot = self.ids.remove_cow(&id)?;
        self.slots.take(slot)
    }
}

/// A node of the tree behind the map of ids: some ids, with smaller ones to the left and larger ones to the right of
/// each.
type Node<'a> = NodeRef<'a, PointId, u32, { DEFAULT_SIZE / 2 }>;

/// Slots by id, from a bound on. The map's own range visits all nodes before its first element.
struct Ascending<'a> {
    /// Slots of a node, the last one first.
    slots: Vec<u32>,
    /// Nodes with larger ids, the next one last.
    nodes: Vec<Node<'a>>,
}

impl<'a> Ascending<'a> {
    fn from(from: Bound<PointId>, root: Option<Node<'a>>) -> Self {
        let is_in = |id: &PointId| match from {
            Bound::Unbounded => true,
            Bound::Included(first) => *id >= first,
            Bound::Excluded(before) => *id > before,
        };
        let (mut nodes, mut at) = (Vec::new(), root);
        while let Some(node) = at {
            at = if node.pairs().last().is_some_and(|(id, _)| is_in(id)) {
                let left = node.left();
                nodes.push(node);
                left
            } else {
                node.right()
            };
        }
        let mut ascending = Self { slots: Vec::new(), nodes };
        ascending.open(is_in);
        ascending
    }

    /// Advances to the next node.
    fn open(&mut self, is_in: impl Fn(&PointId) -> bool) {
        let Some(node) = self.nodes.pop() else { return };
        self.slots.extend(node.pairs().filter(|(id, _)| is_in(id)).map(|(_, slot)| *slot));
        self.slots.reverse();
        let mut at = node.right();
        while let Some(node) = at {
            at = node.left();
            self.nodes.push(node);
        }
    }
}

impl Iterator for Ascending<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.slots.is_empty() {
            self.open(|_| true);
        }
        self.slots.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Enough ids for several nodes, some of them removed again.
        #[test]
        fn ranges_are_those_of_a_map(
            ids in prop::collection::vec(0..6_000_u64, 0..5_000), out in prop::collection::vec(0..6_000_u64, 0..2_000),
            from in prop::collection::vec(0..6_100_u64, 8),
        ) {
            let (mut map, mut model) = (MapS::new(), BTreeMap::new());
            for (slot, id) in (0..).zip(ids) {
                map.insert_cow(PointId::Num(id), slot);
                model.insert(PointId::Num(id), slot);
            }
            for id in out {
                prop_assert_eq!(map.remove_cow(&PointId::Num(id)), model.remove(&PointId::Num(id)));
            }
            let bounds = from.into_iter().map(PointId::Num).flat_map(|id| [Bound::Included(id), Bound::Excluded(id)]);
            for from in bounds.chain([Bound::Unbounded]) {
                let right = model.range((from, Bound::Unbounded)).map(|(_, slot)| *slot);
                prop_assert!(Ascending::from(from, map.root()).eq(right), "{:?}", from);
            }
        }
    }

    /// A late start of a range costs one descent of the tree.
    #[test]
    fn a_range_begins_where_it_begins() {
        let map: MapS<PointId, u32> = (0..200_000).map(|id| (PointId::Num(id.into()), id)).collect();
        let late = Ascending::from(Bound::Included(PointId::Num(199_990)), map.root());
        assert!(late.nodes.len() < 20 && late.slots.len() <= 10);
        assert!(late.eq(199_990..200_000));
    }
}
