//! Allocation of slots.

use std::collections::BTreeSet;
use std::sync::Arc;

use meridian_pages::Pages;

/// Dense numbers of one collection's points, shared by all its vectors. The smallest free slot is taken first, so the
/// slots follow from the log.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    held: Pages<Option<Arc<T>>>,
    free: BTreeSet<u32>,
}

impl<T> Slots<T> {
    /// So many slots, all free.
    pub(crate) fn free(len: u32) -> Self {
        Self { held: Pages::with_len(len as usize), free: (0..len).collect() }
    }

    /// A read-only view, without the free slots.
    pub(crate) fn view(&self) -> Self {
        Self { held: self.held.clone(), free: BTreeSet::new() }
    }

    /// A copy with the free slots. Cost: a copy of the free slots.
    pub(crate) fn image(&self) -> Self {
        Self { held: self.held.clone(), free: self.free.clone() }
    }

    /// The slot of the next insert.
    pub(crate) fn next(&self) -> u32 {
        let behind = || u32::try_from(self.held.len()).expect("a shard holds fewer than 2^32 points");
        self.free.first().copied().unwrap_or_else(behind)
    }

    /// Fills `slot`, which must be free or [`Slots::next`]; returns false otherwise.
    pub(crate) fn put(&mut self, slot: u32, what: T) -> bool {
        if slot as usize == self.held.len() && self.free.is_empty() {
            self.held.push(Some(Arc::new(what)));
            return true;
        }
        let place = self.held.get_mut(slot as usize).filter(|_| self.free.remove(&slot));
        place.map(|place| *place = Some(Arc::new(what))).is_some()
    }

    /// Replaces the contents of `slot` and returns the former ones. If it is free, nothing changes.
    pub(crate) fn replace(&mut self, slot: u32, what: T) -> Option<Arc<T>> {
        self.held.get_mut(slot as usize)?.as_mut().map(|held| std::mem::replace(held, Arc::new(what)))
    }

    /// Empties `slot`.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Arc<T>> {
        let what = self.held.get_mut(slot as usize)?.take()?;
        self.free.insert(slot);
        Some(what)
    }

    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        self.held.get(slot as usize)?.as_deref()
    }

    pub(crate) fn iter_free(&self) -> impl Iterator<Item = u32> {
        self.free.iter().copied()
    }

    /// Upper bound of the used slots.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_free_slot_is_next() {
        let mut slots = Slots::free(0);
        let add = |slots: &mut Slots<u8>, what| {
            let slot = slots.next();
            assert!(slots.put(slot, what));
            slot
        };
        assert_eq!([0, 1, 2, 3].map(|what| add(&mut slots, what)), [0, 1, 2, 3]);
        assert_eq!([2, 0, 0].map(|slot| slots.take(slot).as_deref().copied()), [Some(2), Some(0), None]);
        assert_eq!(slots.at(0), None);
        assert_eq!(add(&mut slots, 9), 0);
        assert_eq!(slots.at(0), Some(&9));
        assert_eq!([add(&mut slots, 7), add(&mut slots, 8)], [2, 4]);
    }

    #[test]
    fn restoring_a_snapshot_leaves_the_same_slots_free() {
        let mut slots = Slots::free(4);
        assert!(slots.put(3, 'c') && slots.put(1, 'a'));
        assert!(!slots.put(1, 'x') && !slots.put(4, 'x'));
        assert_eq!(slots.iter_free().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((slots.next(), slots.len()), (0, 4));
    }
}
