//! Nodes by slot.

use std::sync::Arc;

use crate::hash::SlotMap;

/// Entry of a slot without a node.
const NO_NODE: u32 = u32::MAX;

/// Slots per page. Close slots are usually read together, and an index of few points stays small.
const SLOTS_PER_PAGE: usize = 256;

/// Pages per directory.
const PAGES_PER_DIRECTORY: usize = 64;

/// A group of pages; none for pages without slots.
type PageDirectory = [Option<Arc<[u32; SLOTS_PER_PAGE]>>; PAGES_PER_DIRECTORY];

/// Nodes by slot, in pages grouped by directories. Every page that ever had a slot takes memory. Copies share pages and
/// directories until one of them writes.
#[derive(Default, Clone)]
pub(crate) struct SlotTable {
    directories: Arc<SlotMap<Arc<PageDirectory>>>,
    len: usize,
}

/// Page number of a slot, and its position in the page.
fn place(slot: u32) -> (u32, usize) {
    (slot / SLOTS_PER_PAGE as u32, slot as usize % SLOTS_PER_PAGE)
}

impl SlotTable {
    /// Number of slots with a node.
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

    /// A page of its directory, if it exists.
    fn page(directory: Option<&PageDirectory>, page: u32) -> Option<&[u32; SLOTS_PER_PAGE]> {
        directory?[page as usize % PAGES_PER_DIRECTORY].as_deref()
    }

    /// The entry for a page, in this copy only.
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

    /// Slots with a node, and that node. Cheaper than single lookups if the slots ascend.
    pub fn get_all(&self, slots: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, u32)> {
        // Directory and page of the previous slot, reused while slots fall into them.
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

    /// Sets the node of a slot; false, and no change, if it has one.
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

    /// Removes a slot and returns its node.
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
            // Some pages are dense, some hold one slot, and the highest slot occurs.
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
