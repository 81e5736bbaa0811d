//! A copy-on-write vector: clones are cheap and share pages until one of them writes.
//!
//! Values are stored in pages, and pages in groups; clones share both. A read costs two more loads than in a slice. The
//! first write after a clone copies one page, one group and the table of groups; later writes cost as much as in a
//! slice. Therefore a writer can publish an immutable clone after every change, and readers never wait.

use std::ops::Index;
use std::sync::Arc;

/// Approximate page size in bytes. For reference-counted values, copying a page costs one increment per value.
const PAGE_BYTES: usize = 1_024;

/// A group has `1 << GROUP_SHIFT` pages. A million values of 8 bytes take 123 groups.
const GROUP_SHIFT: u32 = 6;

/// A group of pages; only the last group may be incomplete.
type PageGroup<T> = Vec<Arc<[T]>>;

/// A copy-on-write vector in pages.
#[derive(Debug, Clone)]
pub struct Pages<T> {
    groups: Arc<Vec<Arc<PageGroup<T>>>>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { groups: Arc::default(), len: 0 }
    }
}

impl<T> Pages<T> {
    /// A page has `1 << SHIFT` values.
    const SHIFT: u32 = match PAGE_BYTES.checked_div(size_of::<T>()) {
        None | Some(0) => 0,
        Some(values) => values.ilog2(),
    };

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`; `None` when `index >= len()`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        let [group, page, offset] = Self::locate(index);
        (index < self.len).then(|| &self.groups[group][page][offset])
    }

    /// The values in order, one page per slice.
    pub fn slices(&self) -> impl Iterator<Item = &[T]> {
        let size = 1 << Self::SHIFT;
        let pages = self.groups.iter().flat_map(|group| &**group);
        pages.zip((0..).step_by(size)).map(move |(page, first)| &page[..size.min(self.len - first)])
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slices().flatten()
    }

    /// Memory in bytes without sharing, excluding memory owned by the values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages() * ((size_of::<T>() << Self::SHIFT) + size_of::<Arc<[T]>>())
    }

    fn pages(&self) -> usize {
        self.len.div_ceil(1 << Self::SHIFT)
    }

    /// Group, page and offset of a value.
    #[inline]
    fn locate(index: usize) -> [usize; 3] {
        let page = index >> Self::SHIFT;
        [page >> GROUP_SHIFT, page & ((1 << GROUP_SHIFT) - 1), index & ((1 << Self::SHIFT) - 1)]
    }
}

impl<T: Clone + Default> Pages<T> {
    /// Creates a vector of `len` default values.
    #[must_use]
    pub fn with_len(len: usize) -> Self {
        let mut pages = Self::default();
        pages.grow(len);
        pages
    }

    /// Mutable access to the value at `index` in this clone only; `None` when `index >= len()`.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let [group, page, offset] = Self::locate(index);
        let group = (index < self.len).then(|| &mut Arc::make_mut(&mut self.groups)[group])?;
        Some(&mut Arc::make_mut(&mut Arc::make_mut(group)[page])[offset])
    }

    /// Appends a value.
    pub fn push(&mut self, value: T) {
        self.grow(self.len + 1);
        *self.get_mut(self.len - 1).expect("`grow` extended the vector") = value;
    }

    /// Extends the vector to `len` values by default values, if it is shorter.
    pub fn grow(&mut self, len: usize) {
        for page in self.pages()..len.div_ceil(1 << Self::SHIFT) {
            let groups = Arc::make_mut(&mut self.groups);
            if page >> GROUP_SHIFT == groups.len() {
                groups.push(Arc::default());
            }
            let page = (0..1 << Self::SHIFT).map(|_| T::default()).collect();
            Arc::make_mut(groups.last_mut().expect("pushed above if it was missing")).push(page);
        }
        self.len = self.len.max(len);
    }
}

impl<T> Index<usize> for Pages<T> {
    type Output = T;

    /// # Panics
    /// When `index >= len()`.
    #[inline]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("index within the vector")
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

    fn assert_same<T: PartialEq + std::fmt::Debug>(pages: &Pages<T>, model: &[T]) {
        assert_eq!((pages.len(), pages.is_empty()), (model.len(), model.is_empty()));
        assert!(pages.iter().eq(model) && (0..model.len()).all(|at| pages[at] == model[at]));
        assert_eq!(pages.get(model.len()), None);
    }

    proptest! {
        /// Clones are independent of each other.
        #[test]
        fn copies_behave_like_vectors(ops in prop::collection::vec((0..4_u8, any::<u16>()), 1..400)) {
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
            copies.iter().for_each(|(pages, model)| assert_same(pages, model));
            assert_same(&large.0, &large.1);
        }
    }

    #[test]
    fn values_of_no_size_and_whole_pages() {
        assert_same(&Pages::<()>::with_len(3), &[(); 3]);
        let page = PAGE_BYTES / 8;
        for len in [
            0,
            1,
            page - 1,
            page,
            page + 1,
            3 * page,
            page << GROUP_SHIFT,
            (page << GROUP_SHIFT) + 1,
            (page << GROUP_SHIFT) * 3 - 1,
        ] {
            let values: Vec<u64> = (0..len as u64).collect();
            let pages: Pages<u64> = values.iter().copied().collect();
            assert_same(&pages, &values);
            assert!(pages.slices().map(<[u64]>::len).all(|some| some > 0));
        }
    }
}
