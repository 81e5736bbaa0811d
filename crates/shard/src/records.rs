//! The points of a collection, their vectors apart: by id, and by slot.

use std::ops::Bound;
use std::sync::Arc;

use immutable_chunkmap::map::{DEFAULT_SIZE, MapS, NodeRef};
use meridian_model::PointId;

use crate::collection::Point;
use crate::slots::Slots;

/// Points by id and by slot. Views share with it what was not changed since.
#[derive(Debug)]
pub(crate) struct Records {
    ids: MapS<PointId, u32>,
    slots: Slots<Point>,
}

impl Records {
    /// None, on so many slots.
    pub(crate) fn new(slots: u32) -> Self {
        Self { ids: MapS::new(), slots: Slots::free(slots) }
    }

    /// The points that there are now.
    pub(crate) fn view(&self) -> Self {
        Self { ids: self.ids.clone(), slots: self.slots.view() }
    }

    /// As [`Self::view`], with the free slots.
    pub(crate) fn image(&self) -> Self {
        Self { ids: self.ids.clone(), slots: self.slots.image() }
    }

    /// Points.
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

    /// Points by id, from one on.
    pub(crate) fn range(&self, from: Bound<PointId>) -> impl Iterator<Item = &Point> {
        Ascending::from(from, self.ids.root()).map(|slot| self.at(slot).expect("an id names a slot that is taken"))
    }

    /// False when the id or the slot is taken.
    pub(crate) fn put(&mut self, point: Point) -> bool {
        let (id, slot) = (point.id, point.slot);
        let fits = self.ids.get(&id).is_none() && self.slots.put(slot, point);
        if fits {
            self.ids.insert_cow(id, slot);
        }
        fits
    }

    /// Puts a point in the place of one of the same id and slot, and returns that; nothing has changed where there is none.
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

/// A node of the tree that the map of ids is: some ids, those before them to its left and those behind them to its right.
type Node<'a> = NodeRef<'a, PointId, u32, { DEFAULT_SIZE / 2 }>;

/// Slots by id, from one on. The map's own range looks at all nodes before its first.
struct Ascending<'a> {
    /// Slots of a node, the last first.
    slots: Vec<u32>,
    /// Nodes whose ids come after these, the next one last.
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

    /// Goes on to the next node.
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

        /// As many ids as need some nodes, some of them taken out again.
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

    /// To begin late costs a way down the tree and no more.
    #[test]
    fn a_range_begins_where_it_begins() {
        let map: MapS<PointId, u32> = (0..200_000).map(|id| (PointId::Num(id.into()), id)).collect();
        let late = Ascending::from(Bound::Included(PointId::Num(199_990)), map.root());
        assert!(late.nodes.len() < 20 && late.slots.len() <= 10);
        assert!(late.eq(199_990..200_000));
    }
}
