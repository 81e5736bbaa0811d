//! Which slot holds which point.

use std::collections::BTreeSet;

use meridian_model::PointId;

/// Dense places of one collection's points, shared by all its vectors. The smallest free place is taken first, so the
/// places follow from the log and from which are taken alone.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    points: Vec<Option<PointId>>,
    free: BTreeSet<u32>,
}

impl Slots {
    pub(crate) fn take(&mut self, point: PointId) -> u32 {
        if let Some(slot) = self.free.pop_first() {
            self.points[slot as usize] = Some(point);
            return slot;
        }
        let slot = u32::try_from(self.points.len()).expect("a shard holds fewer than 2^32 points");
        self.points.push(Some(point));
        slot
    }

    /// So many slots, all of them free.
    pub(crate) fn free(len: u32) -> Self {
        Self { points: vec![None; len as usize], free: (0..len).collect() }
    }

    /// Marks a free slot as taken by `point`, as a snapshot says; false when it is not free.
    pub(crate) fn put(&mut self, slot: u32, point: PointId) -> bool {
        self.free.remove(&slot) && self.points[slot as usize].replace(point).is_none()
    }

    pub(crate) fn release(&mut self, slot: u32) {
        if self.points[slot as usize].take().is_some() {
            self.free.insert(slot);
        }
    }

    pub(crate) fn point(&self, slot: u32) -> Option<PointId> {
        self.points.get(slot as usize).copied().flatten()
    }

    pub(crate) fn iter_free(&self) -> impl Iterator<Item = u32> {
        self.free.iter().copied()
    }

    /// Every slot below this may be taken.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_free_slot_is_taken_first() {
        let mut slots = Slots::default();
        let taken: Vec<_> = (0..4).map(|n| slots.take(PointId::Num(n))).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        slots.release(2);
        slots.release(0);
        assert_eq!(slots.point(0), None);
        assert_eq!(slots.take(PointId::Num(9)), 0);
        assert_eq!(slots.point(0), Some(PointId::Num(9)));
    }

    #[test]
    fn places_put_back_from_a_snapshot_leave_the_same_ones_free() {
        let mut slots = Slots::free(4);
        assert!(slots.put(3, PointId::Num(3)));
        assert!(slots.put(1, PointId::Num(1)));
        assert!(!slots.put(1, PointId::Num(4)));
        assert!(!slots.put(4, PointId::Num(4)));
        assert_eq!(slots.take(PointId::Num(0)), 0);
        assert_eq!(slots.take(PointId::Num(2)), 2);
        assert_eq!(slots.take(PointId::Num(5)), 4);
    }
}
