//! Immutable views of an index, for searches while it is written.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::filter::Filter;
use crate::flat::Flat;
use crate::index::{Body, Index, SearchError};
use crate::neighbor::Hit;
use crate::params::SearchParams;

/// An index as of the call of [`Index::view`]. Any number of threads may search it while the index is written, and
/// after it is dropped, without locks. Later writes are visible in later views.
pub struct View(
    /// Without the data that only writes need.
    pub(crate) Index,
);

/// A full copy-on-write image of an index as of the call of [`Index::image`], for a snapshot while the index is
/// written.
pub struct Image(Index);

impl Index {
    /// A view of the current state. Cost: some microseconds. The first later write to a row copies that row, until this
    /// view and all earlier ones are dropped.
    #[must_use = "rows are copied as long as there are views"]
    pub fn view(&mut self) -> View {
        let body = match self.body_mut() {
            Body::Flat(flat) => Body::Flat(Box::new(Flat { points: flat.points.view() })),
            Body::Hnsw(hnsw) => Body::Hnsw(Box::new(hnsw.view())),
            Body::IvfPq(ivf) => Body::IvfPq(Box::new(ivf.view())),
        };
        View(self.with_body(body))
    }

    /// An image of the current state, to be written as a snapshot by another thread. Cost: that of [`Self::view`], and
    /// a copy of a few bytes per point.
    #[must_use = "rows are copied as long as there are images"]
    pub fn image(&mut self) -> Image {
        let body = match self.body_mut() {
            Body::Flat(flat) => Body::Flat(Box::new(Flat { points: flat.points.image() })),
            Body::Hnsw(hnsw) => Body::Hnsw(Box::new(hnsw.image())),
            Body::IvfPq(ivf) => Body::IvfPq(Box::new(ivf.image())),
        };
        Image(self.with_body(body))
    }
}

impl Image {
    /// As [`Index::write_to`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        self.0.write_to(out)
    }
}

impl View {
    /// As [`Index::search`].
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Result<Vec<Hit>, SearchError> {
        self.0.search(query, k, params, filter)
    }

    /// As [`Index::search_batch`].
    ///
    /// # Errors
    /// As [`Index::search_batch`].
    pub fn search_batch(
        &self,
        queries: &[&[f32]],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Result<Vec<Vec<Hit>>, (usize, SearchError)> {
        self.0.search_batch(queries, k, params, filter)
    }

    /// As [`Index::vector`].
    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        self.0.vector(slot)
    }

    /// As [`Index::contains`].
    pub fn contains(&self, slot: u32) -> bool {
        self.0.contains(slot)
    }

    /// As [`Index::pending`].
    pub fn pending(&self) -> usize {
        self.0.pending()
    }

    /// As [`Index::len`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
