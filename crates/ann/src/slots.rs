//! Which node holds a slot.

use std::sync::Arc;

use crate::mix::SlotMap;

/// Marks a slot that no node holds.
const NO_NODE: u32 = u32::MAX;

/// Slots of a page. Numbers that lie together are asked for together, and an index of few points stays small.
const PAGE: usize = 256;

/// Pages of a book.
const BOOK: usize = 64;

/// Some pages, those that are there.
type Book = [Option<Arc<[u32; PAGE]>>; BOOK];

/// Nodes by slot, in pages, and these in books: memory for every page that a slot ever stood on. Copies share both until one of
/// them writes.
#[derive(Default, Clone)]
pub(crate) struct Slots {
    books: Arc<SlotMap<Arc<Book>>>,
    len: usize,
}

/// The page of a slot, and its place there.
fn place(slot: u32) -> (u32, usize) {
    (slot / PAGE as u32, slot as usize % PAGE)
}

impl Slots {
    /// Slots that are held.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        let pages = self.books.values().flat_map(|book| &**book).flatten().count();
        pages * PAGE * 4 + self.books.len() * size_of::<Book>() + self.books.capacity() * 17
    }

    fn book(&self, book: u32) -> Option<&Book> {
        self.books.get(&book).map(|book| &**book)
    }

    /// A page of its book, where there is one.
    fn page(book: Option<&Book>, page: u32) -> Option<&[u32; PAGE]> {
        book?[page as usize % BOOK].as_deref()
    }

    /// Where a page is or would be, in this copy alone.
    fn page_mut(&mut self, page: u32) -> &mut Option<Arc<[u32; PAGE]>> {
        let book = Arc::make_mut(&mut self.books).entry(page / BOOK as u32);
        let book = book.or_insert_with(|| Arc::new([const { None }; BOOK]));
        &mut Arc::make_mut(book)[page as usize % BOOK]
    }

    pub fn get(&self, slot: u32) -> Option<u32> {
        let (page, at) = place(slot);
        Self::page(self.book(page / BOOK as u32), page).map(|page| page[at]).filter(|node| *node != NO_NODE)
    }

    /// The slots that are held, with their nodes; cheaper than one by one where they ascend.
    pub fn get_all(&self, slots: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, u32)> {
        // Neither is sought again while slots are in it.
        let mut book: (u32, Option<&Book>) = (u32::MAX, None);
        let mut page: (u32, Option<&[u32; PAGE]>) = (u32::MAX, None);
        slots.filter_map(move |slot| {
            let (of, at) = place(slot);
            if of != page.0 {
                if of / BOOK as u32 != book.0 {
                    book = (of / BOOK as u32, self.book(of / BOOK as u32));
                }
                page = (of, Self::page(book.1, of));
            }
            page.1.map(|page| page[at]).filter(|node| *node != NO_NODE).map(|node| (slot, node))
        })
    }

    /// Puts a node on a slot; false if the slot was held, and then nothing has changed.
    pub fn insert(&mut self, slot: u32, node: u32) -> bool {
        let (page, at) = place(slot);
        let page = self.page_mut(page).get_or_insert_with(|| Arc::new([NO_NODE; PAGE]));
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
    fn slots_are_those_of_a_map() {
        let (mut rng, mut slots, mut model) = (Rng::new(1), Slots::default(), BTreeMap::new());
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
        let asked = (0..800).chain(model.keys().copied()).chain([5, 0]);
        let right: Vec<_> = asked.clone().filter_map(|slot| Some((slot, *model.get(&slot)?))).collect();
        assert_eq!(slots.get_all(asked).collect::<Vec<_>>(), right);
    }
}
