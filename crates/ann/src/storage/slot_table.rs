//! Which node holds a slot.

use std::sync::Arc;

use crate::hash::SlotMap;

/// Marks a slot that no node holds.
const NO_NODE: u32 = u32::MAX;

/// Slots of a page. Numbers that lie together are asked for together, and an index of few points stays small.
const SLOTS_PER_PAGE: usize = 256;

/// Pages of a book.
const PAGES_PER_DIRECTORY: usize = 64;

/// Some pages, those that are there.
type PageDirectory = [Option<Arc<[u32; SLOTS_PER_PAGE]>>; PAGES_PER_DIRECTORY];

/// Nodes by slot, in pages, and these in books: memory for every page that a slot ever stood on. Copies share both until one of
/// them writes.
#[derive(Default, Clone)]
pub(crate) struct SlotTable {
    directories: Arc<SlotMap<Arc<PageDirectory>>>,
    len: usize,
}

/// The page of a slot, and its place there.
fn place(slot: u32) -> (u32, usize) {
    (slot / SLOTS_PER_PAGE as u32, slot as usize % SLOTS_PER_PAGE)
}

impl SlotTable {
    /// Slots that are held.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        let pages = self.directories.values().flat_map(|directory| &**directory).flatten().count();
        pages * SLOTS_PER_PAGE * 4
            + self.directories.len() * size_of::<PageDirectory>()
            + self.directories.capacity() * 17
    }

    fn directory(&self, directory: u32) -> Option<&PageDirectory> {
        self.directories.get(&directory).map(|directory| &**directory)
    }

    /// A page of its book, where there is one.
    fn page(directory: Option<&PageDirectory>, page: u32) -> Option<&[u32; SLOTS_PER_PAGE]> {
        directory?[page as usize % PAGES_PER_DIRECTORY].as_deref()
    }

    /// Where a page is or would be, in this copy alone.
    fn page_mut(&mut self, page: u32) -> &mut Option<Arc<[u32; SLOTS_PER_PAGE]>> {
        let directory = Arc::make_mut(&mut self.directories).entry(page / PAGES_PER_DIRECTORY as u32);
        let directory = directory.or_insert_with(|| Arc::new([const { None }; PAGES_PER_DIRECTORY]));
        &mut Arc::make_mut(directory)[page as usize % PAGES_PER_DIRECTORY]
    }

    pub fn get(&self, slot: u32) -> Option<u32> {
        let (page, at) = place(slot);
        Self::page(self.directory(page / PAGES_PER_DIRECTORY as u32), page)
            .map(|page| page[at])
            .filter(|node| *node != NO_NODE)
    }

    /// The slots that are held, with their nodes; cheaper than one by one where they ascend.
    pub fn get_all(&self, slots: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, u32)> {
        // Neither is sought again while slots are in it.
        let mut directory: (u32, Option<&PageDirectory>) = (u32::MAX, None);
        let mut page: (u32, Option<&[u32; SLOTS_PER_PAGE]>) = (u32::MAX, None);
        slots.filter_map(move |slot| {
            let (of, at) = place(slot);
            if of != page.0 {
                if of / PAGES_PER_DIRECTORY as u32 != directory.0 {
                    directory = (of / PAGES_PER_DIRECTORY as u32, self.directory(of / PAGES_PER_DIRECTORY as u32));
                }
                page = (of, Self::page(directory.1, of));
            }
            page.1.map(|page| page[at]).filter(|node| *node != NO_NODE).map(|node| (slot, node))
        })
    }

    /// Puts a node on a slot; false if the slot was held, and then nothing has changed.
    pub fn insert(&mut self, slot: u32, node: u32) -> bool {
        let (page, at) = place(slot);
        let page = self.page_mut(page).get_or_insert_with(|| Arc::new([NO_NODE; SLOTS_PER_PAGE]));
        let entry = &mut Arc::make_mut(page)[at];
        let is_new = *entry == NO_NODE;
        if is_new {
            *entry = node;
            self.len += 1;
        }
        is_new
    }

    /// Frees a slot and returns its node.
    pub fn remove(&mut self, slot: u32) -> Option<u32> {
        let (page, at) = place(slot);
        let node = self.get(slot)?;
        Arc::make_mut(self.page_mut(page).as_mut()?)[at] = NO_NODE;
        self.len -= 1;
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::Rng;

    #[test]
    fn a_slot_table_equals_a_map() {
        let (mut rng, mut slots, mut model) = (Rng::new(1), SlotTable::default(), BTreeMap::new());
        for node in 0..20_000 {
            // Some pages are crowded, some hold one slot, and the highest there is.
            let slot = [rng.below(700) as u32, rng.next() as u32 >> 8 << 8, u32::MAX - 1][rng.below(3)];
            if rng.below(2) == 0 {
                assert_eq!(slots.insert(slot, node), !model.contains_key(&slot));
                model.entry(slot).or_insert(node);
            } else {
                assert_eq!(slots.remove(slot), model.remove(&slot));
            }
            assert_eq!(slots.len(), model.len());
            assert_eq!(slots.get(slot), model.get(&slot).copied());
        }
        let lookups = (0..800).chain(model.keys().copied()).chain([5, 0]);
        let right: Vec<_> = lookups.clone().filter_map(|slot| Some((slot, *model.get(&slot)?))).collect();
        assert_eq!(slots.get_all(lookups).collect::<Vec<_>>(), right);
    }
}
