//! A long list that is cheap to copy and to change.
//!
//! It lies in pages, and these in books; copies of the list share both until one of them writes (copy on write). Reading costs some
//! more loads than in a slice. A write costs a page, a book of pages and the table of books once after each copy, and after that what
//! it costs in a slice. So a copy can be given to readers after every change: it never changes, and nobody waits.

use std::ops::Index;
use std::sync::Arc;

/// Bytes of a page, about. Where values count their owners, a copy of a page is as many increments.
const PAGE_BYTES: usize = 1_024;

/// Pages of a book: `1 << BOOK`. Of a million values of 8 bytes there are 123 books.
const BOOK: u32 = 6;

/// Some pages. All are there but in the last book.
type Book<T> = Vec<Arc<[T]>>;

/// A list in pages.
#[derive(Debug, Clone)]
pub struct Pages<T> {
    books: Arc<Vec<Arc<Book<T>>>>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { books: Arc::default(), len: 0 }
    }
}

impl<T> Pages<T> {
    /// A page holds `1 << SHIFT` values.
    const SHIFT: u32 = match PAGE_BYTES.checked_div(size_of::<T>()) {
        None | Some(0) => 0,
        Some(values) => values.ilog2(),
    };

    /// Values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at a place, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        let [book, page, place] = Self::place(at);
        (at < self.len).then(|| &self.books[book][page][place])
    }

    /// The values in order, some at a time.
    pub fn slices(&self) -> impl Iterator<Item = &[T]> {
        let size = 1 << Self::SHIFT;
        let pages = self.books.iter().flat_map(|book| &**book);
        pages.zip((0..).step_by(size)).map(move |(page, first)| &page[..size.min(self.len - first)])
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slices().flatten()
    }

    /// Bytes that it takes where nothing is shared, those apart that values own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages() * ((size_of::<T>() << Self::SHIFT) + size_of::<Arc<[T]>>())
    }

    fn pages(&self) -> usize {
        self.len.div_ceil(1 << Self::SHIFT)
    }

    /// Book, page and place of a value.
    #[inline]
    fn place(at: usize) -> [usize; 3] {
        let page = at >> Self::SHIFT;
        [page >> BOOK, page & ((1 << BOOK) - 1), at & ((1 << Self::SHIFT) - 1)]
    }
}

impl<T: Clone + Default> Pages<T> {
    /// So many values.
    #[must_use]
    pub fn of(len: usize) -> Self {
        let mut pages = Self::default();
        pages.grow(len);
        pages
    }

    /// The value at a place, if there is one, to be changed in this copy alone.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let [book, page, place] = Self::place(at);
        let book = (at < self.len).then(|| &mut Arc::make_mut(&mut self.books)[book])?;
        Some(&mut Arc::make_mut(&mut Arc::make_mut(book)[page])[place])
    }

    /// Adds a value.
    pub fn push(&mut self, value: T) {
        self.grow(self.len + 1);
        *self.get_mut(self.len - 1).expect("it has just grown") = value;
    }

    /// Makes it so long, if it is shorter.
    pub fn grow(&mut self, len: usize) {
        for page in self.pages()..len.div_ceil(1 << Self::SHIFT) {
            let books = Arc::make_mut(&mut self.books);
            if page >> BOOK == books.len() {
                books.push(Arc::default());
            }
            let page = (0..1 << Self::SHIFT).map(|_| T::default()).collect();
            Arc::make_mut(books.last_mut().expect("it was just seen to")).push(page);
        }
        self.len = self.len.max(len);
    }
}

impl<T> Index<usize> for Pages<T> {
    type Output = T;

    /// # Panics
    /// When there is no such place.
    #[inline]
    fn index(&self, at: usize) -> &T {
        self.get(at).expect("a place within the list")
    }
}

impl<T: Clone + Default> FromIterator<T> for Pages<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut pages = Self::default();
        values.into_iter().for_each(|value| pages.push(value));
        pages
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Larger than a page.
    #[derive(Debug, Clone, PartialEq)]
    struct Large([u64; 300]);

    impl Default for Large {
        fn default() -> Self {
            Self([0; 300])
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(pages: &Pages<T>, model: &[T]) {
        assert_eq!((pages.len(), pages.is_empty()), (model.len(), model.is_empty()));
        assert!(pages.iter().eq(model) && (0..model.len()).all(|at| pages[at] == model[at]));
        assert_eq!(pages.get(model.len()), None);
    }

    proptest! {
        /// Every copy stays what it was, whatever becomes of others.
        #[test]
        fn copies_are_those_of_vectors(ops in prop::collection::vec((0..4_u8, any::<u16>()), 1..400)) {
            let mut copies = vec![(Pages::<u64>::default(), Vec::new())];
            let mut large = (Pages::<Large>::default(), Vec::new());
            for (kind, value) in ops {
                let nth = usize::from(value) % copies.len();
                let (pages, model) = &mut copies[nth];
                let at = usize::from(value) % (model.len() + 1);
                match kind {
                    0 => {
                        let copy = (pages.clone(), model.clone());
                        copies.push(copy);
                    }
                    1 => {
                        pages.grow(at * 2);
                        model.resize(model.len().max(at * 2), 0);
                    }
                    2 => {
                        pages.push(u64::from(value));
                        model.push(u64::from(value));
                        large.0.push(Large([u64::from(value); 300]));
                        large.1.push(Large([u64::from(value); 300]));
                    }
                    _ => {
                        let held = pages.get_mut(at);
                        prop_assert_eq!(held.is_some(), at < model.len());
                        if let Some(held) = held {
                            *held += 1;
                            model[at] += 1;
                        }
                    }
                }
            }
            copies.iter().for_each(|(pages, model)| same(pages, model));
            same(&large.0, &large.1);
        }
    }

    #[test]
    fn values_of_no_size_and_whole_pages() {
        same(&Pages::<()>::of(3), &[(); 3]);
        let page = PAGE_BYTES / 8;
        for len in [0, 1, page - 1, page, page + 1, 3 * page, page << BOOK, (page << BOOK) + 1, (page << BOOK) * 3 - 1]
        {
            let values: Vec<u64> = (0..len as u64).collect();
            let pages: Pages<u64> = values.iter().copied().collect();
            same(&pages, &values);
            assert!(pages.slices().map(<[u64]>::len).all(|some| some > 0));
        }
    }
}
