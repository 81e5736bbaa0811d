//! Patches: copies of rows that live views may read.

use std::sync::Arc;

use crate::hash::SlotMap;

use super::versions::{Token, Versions};

/// Bits that tell which rows have no patch. Every row that a search reads is tested, so the test must be cheap.
const FILTER_BITS: usize = 16_384;
const WORD: usize = u64::BITS as usize;

/// The patches of a table: those of the writer, or the immutable ones of a view.
pub(crate) struct Patches<T> {
    /// A row whose bit is not set has no patch.
    marks: RowFilter,
    rows: Arc<SlotMap<Patch<T>>>,
    /// A lower bound of all `since`.
    oldest: u64,
    /// Rows that views may read.
    visible_rows: usize,
    versions: Versions,
    /// Keeps a view alive; the writer has none.
    token: Option<Token>,
}

#[derive(Clone)]
struct Patch<T> {
    /// Number of the last view that reads the row itself.
    since: u64,
    row: Arc<[T]>,
}

type RowFilter = [u64; FILTER_BITS / WORD];

fn word_and_bit(at: u32) -> (usize, u64) {
    let at = at as usize % FILTER_BITS;
    (at / WORD, 1 << (at % WORD))
}

fn add_mark(marks: &mut RowFilter, at: u32) {
    let (word, bit) = word_and_bit(at);
    marks[word] |= bit;
}

impl<T> Default for Patches<T> {
    fn default() -> Self {
        let (rows, versions) = Default::default();
        Self { marks: [0; FILTER_BITS / WORD], rows, oldest: 0, visible_rows: 0, versions, token: None }
    }
}

impl<T: Clone> Patches<T> {
    /// Number of patches.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The patch of a row, if there is one.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&[T]> {
        let (word, bit) = word_and_bit(at);
        if self.marks[word] & bit == 0 { None } else { self.find(at) }
    }

    #[cold]
    fn find(&self, at: u32) -> Option<&[T]> {
        self.rows.get(&at).map(|patch| &*patch.row)
    }

    /// The patch to write a row to; none if no view reads the row, which is then written in place. `held` returns the
    /// content of the row.
    pub fn write(&mut self, at: u32, held: impl FnOnce() -> Arc<[T]>) -> Option<&mut [T]> {
        assert!(self.token.is_none(), "a view is only read");
        let is_patched = self.get(at).is_some();
        let last = self.versions.last();
        if !is_patched && (at as usize >= self.visible_rows || self.versions.oldest() > last) {
            return None;
        }
        add_mark(&mut self.marks, at);
        let patch = || Patch { since: last, row: held() };
        let patch = Arc::make_mut(&mut self.rows).entry(at).or_insert_with(patch);
        Some(Arc::make_mut(&mut patch.row))
    }

    /// Takes the patches of rows that no view reads, to be merged back.
    pub fn take(&mut self) -> Vec<(u32, Arc<[T]>)> {
        assert!(self.token.is_none(), "a view is only read");
        let oldest = self.versions.oldest();
        if self.rows.is_empty() || self.oldest >= oldest {
            return Vec::new();
        }
        // Views up to `since` are dropped then, and later ones have a patch of their own.
        let is_free = |patch: &Patch<T>| patch.since < oldest;
        let (mut taken, mut rest, mut marks) = (Vec::new(), SlotMap::default(), [0; FILTER_BITS / WORD]);
        for (at, patch) in &*self.rows {
            if is_free(patch) {
                taken.push((*at, Arc::clone(&patch.row)));
            } else {
                add_mark(&mut marks, *at);
                rest.insert(*at, patch.clone());
            }
        }
        (self.rows, self.marks, self.oldest) = (Arc::new(rest), marks, oldest);
        taken
    }

    /// The patches of a view of a table with `rows` rows.
    pub fn view(&mut self, rows: usize) -> Self {
        self.visible_rows = self.visible_rows.max(rows);
        let token = Some(self.versions.issue());
        let (marks, rows) = (self.marks, Arc::clone(&self.rows));
        Self { marks, rows, oldest: 0, visible_rows: 0, versions: Versions::default(), token }
    }
}
