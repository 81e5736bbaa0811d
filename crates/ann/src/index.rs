//! The public interface of all kinds of indexes.

use std::borrow::Cow;

use crate::buffered::BufferedIndex;
use crate::filter::Filter;
use crate::flat::Flat;
use crate::hnsw::Hnsw;
use crate::ivf::Ivf;
use crate::kernels::{InstructionSet, Unsupported};
use crate::metric::Space;
use crate::neighbor::Hit;
use crate::params::{BLOCK, Config, ConfigError, Kind, SearchParams};
use crate::recall_model::PROBE_COUNT;
use crate::recall_model::holdout::HoldoutSampler;
use crate::storage::points::{NO_SLOT, Points};
use crate::storage::vector_store::VectorStorage;

#[cfg(test)]
mod tests;

/// An index of vectors. It has one writer; concurrent readers search a `View`.
///
/// ```
/// use meridian_ann::{Config, Index, Kind, Metric, SearchParams};
///
/// let mut index = Index::new(Config::new(2, Metric::Euclid, Kind::Hnsw { m: 16, ef_construct: 100 }))?;
/// index.upsert(4, &[0.0, 0.0])?;
/// index.upsert(7, &[3.0, 4.0])?;
/// let view = index.view(); // does not see the delete
/// index.delete(4);
///
/// let params = SearchParams::default();
/// let hits = index.search(&[0.0, 0.0], 10, &params, None)?;
/// assert_eq!(hits.iter().map(|hit| (hit.slot, hit.distance)).collect::<Vec<_>>(), [(7, 5.0)]);
/// assert_eq!(view.search(&[0.0, 0.0], 1, &params, None)?[0].slot, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Index {
    config: Config,
    space: Space,
    body: Body,
}

pub(crate) enum Body {
    Flat(Box<Flat>),
    Hnsw(Box<BufferedIndex<Hnsw>>),
    IvfPq(Box<BufferedIndex<Ivf>>),
}

/// Reason why a vector was refused. The index is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpsertError {
    /// The vector has another number of dimensions than the index.
    #[error("vector must have {expected} dimensions (got {found})")]
    Dim {
        /// Dimensions of the vector.
        found: usize,
        /// Dimensions of the index.
        expected: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {at} of the vector must be finite")]
    NotFinite {
        /// Position of the first such component, from 0.
        at: usize,
    },
    /// The slot `u32::MAX` is reserved.
    #[error("slot must not be {NO_SLOT}, which is reserved")]
    Slot,
}

/// Reason why a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The query has another number of dimensions than the index.
    #[error("query must have {expected} dimensions (got {found})")]
    Dim {
        /// Dimensions of the query.
        found: usize,
        /// Dimensions of the index.
        expected: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {at} of the query must be finite")]
    NotFinite {
        /// Position of the first such component, from 0.
        at: usize,
    },
}

/// Sizes of an index. Bytes are allocated bytes, without allocator overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Points that a search may return.
    pub live: usize,
    /// Deleted or replaced points that the graph or lists still hold.
    pub tombstones: usize,
    /// As [`Index::pending`].
    pub pending: usize,
    /// Merged vectors, wherever they are stored.
    pub vector_bytes: usize,
    /// The part of them that is in memory and not in a file.
    pub resident_vector_bytes: usize,
    /// Links and codes, or lists with their codes.
    pub graph_bytes: usize,
    /// Operations in the write buffer, with their vectors.
    pub queue_bytes: usize,
    /// Tables between slots and nodes.
    pub table_bytes: usize,
}

impl Index {
    /// An empty index with [`InstructionSet::best`] and its vectors in memory.
    ///
    /// # Errors
    /// See [`Config::check`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::new_in(config, VectorStorage::Memory)
    }

    /// As [`Self::new`], with the given storage for vectors. Answers and snapshots do not depend on the storage.
    ///
    /// # Errors
    /// See [`Config::check`].
    pub fn new_in(config: Config, storage: VectorStorage) -> Result<Self, ConfigError> {
        config.check()?;
        let points = Points::new(config.dim, config.datatype, storage);
        let body = match config.kind {
            Kind::Flat => Body::Flat(Box::new(Flat { points })),
            Kind::Hnsw { m, ef_construct } => {
                Body::Hnsw(Box::new(BufferedIndex::new(points, Hnsw::new(&config, m, ef_construct))))
            }
            Kind::IvfPq { nlist, .. } => {
                let ivf = Ivf::from_parts(nlist, config.subquantizers(), None);
                Body::IvfPq(Box::new(BufferedIndex::new(points, ivf)))
            }
        };
        Ok(Self::from_parts(config, body))
    }

    pub(crate) fn from_parts(config: Config, body: Body) -> Self {
        Self { config, space: Space::best(config.metric), body }
    }

    /// An index with the same configuration and kernels around another body.
    pub(crate) fn with_body(&self, body: Body) -> Self {
        Self { config: self.config, space: self.space, body }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Selects the instruction set. Results do not change.
    ///
    /// # Errors
    /// The processor does not support it.
    pub fn use_instruction_set(&mut self, set: InstructionSet) -> Result<(), Unsupported> {
        self.space = Space::new(self.config.metric, &set.kernels()?);
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Inserts the vector of a slot, or replaces it. The next search sees it.
    ///
    /// `vector.len() == dim`. Every slot but `u32::MAX` is valid; memory grows with the number of points, not with the
    /// largest slot. Cost: one copy; beyond 8,192 pending operations also five steps of [`Self::merge`].
    ///
    /// # Errors
    /// Wrong number of dimensions, NaN or infinity, the reserved slot. The index is unchanged then.
    pub fn upsert(&mut self, slot: u32, vector: &[f32]) -> Result<(), UpsertError> {
        self.check(slot, vector)?;
        self.put(slot, vector);
        Ok(())
    }

    /// Inserts a vector that [`Self::check`] has accepted.
    fn put(&mut self, slot: u32, vector: &[f32]) {
        let kept = self.config.datatype.kept(vector);
        match &mut self.body {
            Body::Flat(flat) => flat.upsert(slot, &kept),
            Body::Hnsw(hnsw) => hnsw.upsert(slot, &kept, self.space),
            Body::IvfPq(ivf) => ivf.upsert(slot, &kept, self.space),
        }
    }

    /// Checks dimensions, components and slot.
    fn check(&self, slot: u32, vector: &[f32]) -> Result<(), UpsertError> {
        let expected = self.config.dim;
        if vector.len() != expected {
            return Err(UpsertError::Dim { found: vector.len(), expected });
        }
        if let Some(at) = not_finite(vector, self.space) {
            return Err(UpsertError::NotFinite { at });
        }
        if slot == NO_SLOT { Err(UpsertError::Slot) } else { Ok(()) }
    }

    /// Removes the point of a slot; false if there is none. No later search returns it, and the slot can be reused at
    /// once.
    pub fn delete(&mut self, slot: u32) -> bool {
        match &mut self.body {
            Body::Flat(flat) => flat.delete(slot),
            Body::Hnsw(hnsw) => hnsw.delete(slot, self.space),
            Body::IvfPq(ivf) => ivf.delete(slot, self.space),
        }
    }

    /// Operations that are not merged yet. Every search scans them, so merge soon. Up to 255 (an open block) remain
    /// however often [`Self::merge`] is called.
    pub fn pending(&self) -> usize {
        match &self.body {
            Body::Flat(_) => 0,
            Body::Hnsw(hnsw) => hnsw.buffer.pending(),
            Body::IvfPq(ivf) => ivf.buffer.pending(),
        }
    }

    /// Whether [`Self::merge`] has work.
    pub fn can_merge(&self) -> bool {
        match &self.body {
            Body::Flat(_) => false,
            Body::Hnsw(hnsw) => hnsw.can_merge(),
            Body::IvfPq(ivf) => ivf.can_merge(),
        }
    }

    /// Runs up to `most` steps of merging and returns their number; fewer than `most` means that no work is left. One
    /// step plans one insert, applies one insert, delete or replacement, or does one unit of training or probing. The
    /// distribution of steps over calls does not affect the graph.
    pub fn merge(&mut self, most: usize) -> usize {
        match &mut self.body {
            Body::Flat(_) => 0,
            Body::Hnsw(hnsw) => hnsw.merge(most, self.space),
            Body::IvfPq(ivf) => ivf.merge(most, self.space),
        }
    }

    /// Whether writes never merge by themselves, for a caller that applies many writes at once and bounds them. The
    /// graph does not depend on it; searches scan all pending operations.
    pub fn defer_merging(&mut self, defer: bool) {
        match &mut self.body {
            Body::Flat(_) => {}
            Body::Hnsw(hnsw) => hnsw.is_deferring = defer,
            Body::IvfPq(ivf) => ivf.is_deferring = defer,
        }
    }

    /// Rows that exist twice because live views may read their old content, in the table with the most of them. Merging
    /// creates them, as do upserts of [`Kind::Flat`]. The next [`Self::view`] merges back those that no view needs.
    pub fn copied(&self) -> usize {
        match &self.body {
            Body::Flat(flat) => flat.points.vectors.patched_rows(),
            Body::Hnsw(hnsw) => hnsw.points.vectors.patched_rows().max(hnsw.index.patched_rows()),
            Body::IvfPq(ivf) => ivf.points.vectors.patched_rows(),
        }
    }

    /// Merges everything, including the open block, which it closes. Searches scan nothing afterwards. Inserts are
    /// planned by `threads` threads; their number does not affect the graph. Closing the block does: replicas that
    /// shall hold equal graphs call this after the same write. `progress` receives the number of pending operations.
    pub fn merge_all(&mut self, threads: usize, mut progress: impl FnMut(usize)) {
        while self.merge_block(threads, None) {
            progress(self.pending());
        }
    }

    fn merge_block(&mut self, threads: usize, queries: Option<usize>) -> bool {
        match &mut self.body {
            Body::Flat(_) => false,
            Body::Hnsw(hnsw) => hnsw.merge_block(threads, queries, self.space),
            Body::IvfPq(ivf) => ivf.merge_block(threads, queries, self.space),
        }
    }

    /// Bulk load: as [`Self::upsert`] of each point and [`Self::merge_all`], but recall is measured once, at the end.
    /// For that, [`Kind::Hnsw`] inserts a sample of 2,000 points last, drawn from the whole batch, which makes another
    /// graph. `progress` receives the number of points that were inserted or held out.
    ///
    /// # Errors
    /// As [`Self::upsert`], with the position of the point; the points before it are in the index.
    pub fn extend<'a>(
        &mut self,
        points: impl IntoIterator<Item = (u32, &'a [f32])>,
        threads: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), (usize, UpsertError)> {
        // Earlier writes are merged as they would have been without the batch, whenever that happens.
        self.merge(usize::MAX);
        let mut sampler = HoldoutSampler::new(if matches!(self.body, Body::Hnsw(_)) { PROBE_COUNT } else { 0 });
        let mut count = 0;
        let mut taken_in = Ok(());
        for (slot, vector) in points {
            if let Err(error) = self.check(slot, vector) {
                taken_in = Err((count, error));
                break;
            }
            count += 1;
            let Some((slot, vector)) = sampler.push(slot, vector) else { continue };
            self.put(slot, vector);
            if self.pending() >= BLOCK {
                while self.merge_block(threads, Some(0)) {}
                progress(count);
            }
        }
        // Everything else is inserted before the holdouts, so that probes measure the whole batch.
        while self.merge_block(threads, Some(0)) {}
        let mut pending_probes = 0;
        for block in sampler.into_held().chunks(BLOCK) {
            for (slot, vector) in block {
                self.put(*slot, vector);
            }
            if let Body::Hnsw(hnsw) = &self.body {
                pending_probes = hnsw.recall_model.pending_probes(hnsw.points.len()).max(pending_probes);
            }
            self.merge_block(threads, Some(pending_probes.min(BLOCK)));
            pending_probes = pending_probes.saturating_sub(BLOCK);
        }
        self.merge_all(threads, |_| ());
        progress(count);
        taken_in
    }

    /// The `k` points nearest to `query` that pass the filter, nearest first, ties by slot.
    ///
    /// Fewer than `k` only if fewer match; none for `k = 0`, an empty index, or a filter that matches nothing. The
    /// answer is exact for Flat, with `exact`, and where at most 256 points, `ef` points, or
    /// [`SearchParams::full_scan_bytes`] of vectors match. Otherwise it may miss some points in favor of others, but
    /// has `k` while `k` match. A zero query with Cosine or Dot is equally far from all points: ties by slot.
    ///
    /// # Errors
    /// Wrong number of dimensions, NaN or infinity.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Result<Vec<Hit>, SearchError> {
        let found = self.search_batch(&[query], k, params, filter).map_err(|(_, error)| error)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// [`Self::search`] for many queries; answers may be nearer than those of single searches. IVF-PQ answers some
    /// hundreds of queries faster than one by one, because a list is read from memory once for all of them.
    ///
    /// With a filter, the matching set is computed once for at least 32 queries, and one per 8,192 points (1,024 for a
    /// predicate). That is several times as fast where few points match. Earlier queries with the same [`Filter`]
    /// count, single or in batches.
    ///
    /// # Errors
    /// As [`Self::search`], with the position of the query.
    pub fn search_batch(
        &self,
        queries: &[&[f32]],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Result<Vec<Vec<Hit>>, (usize, SearchError)> {
        let expected = self.config.dim;
        for (nth, query) in queries.iter().enumerate() {
            if query.len() != expected {
                return Err((nth, SearchError::Dim { found: query.len(), expected }));
            }
            if let Some(at) = not_finite(query, self.space) {
                return Err((nth, SearchError::NotFinite { at }));
            }
        }
        if k == 0 {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        Ok(match &self.body {
            Body::Flat(flat) => queries.iter().map(|query| flat.search(&self.space, query, k, filter)).collect(),
            Body::Hnsw(hnsw) => hnsw.search(self.space, queries, k, params, filter),
            Body::IvfPq(ivf) => ivf.search(self.space, queries, k, params, filter),
        })
    }

    /// The vector of a slot as it was written, rounded to [`Config::datatype`].
    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match &self.body {
            Body::Flat(flat) => flat.points.vector(slot),
            Body::Hnsw(hnsw) => hnsw.vector(slot),
            Body::IvfPq(ivf) => ivf.vector(slot),
        }
    }

    /// Whether the slot holds a vector. Cheaper than [`Self::vector`].
    pub fn contains(&self, slot: u32) -> bool {
        match &self.body {
            Body::Flat(flat) => flat.points.node_of(slot).is_some(),
            Body::Hnsw(hnsw) => hnsw.contains(slot),
            Body::IvfPq(ivf) => ivf.contains(slot),
        }
    }

    /// Points that a search may return.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Flat(flat) => flat.points.len(),
            Body::Hnsw(hnsw) => hnsw.len(),
            Body::IvfPq(ivf) => ivf.len(),
        }
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sizes. Cost: one pass over all nodes.
    pub fn stats(&self) -> Stats {
        let (points, graph_bytes, queue_bytes, tombstones) = match &self.body {
            Body::Flat(flat) => (&flat.points, 0, 0, 0),
            Body::Hnsw(hnsw) => (&hnsw.points, hnsw.index.bytes(), hnsw.buffer.bytes(), hnsw.hidden()),
            Body::IvfPq(ivf) => (&ivf.points, ivf.index.bytes(), ivf.buffer.bytes(), ivf.hidden()),
        };
        Stats {
            live: self.len(),
            tombstones,
            pending: self.pending(),
            vector_bytes: points.vectors.bytes().0,
            resident_vector_bytes: points.vectors.bytes().1,
            graph_bytes,
            queue_bytes,
            table_bytes: points.table_bytes(),
        }
    }

    /// Live points that an unbounded search finds; equals [`Self::len`] unless the graph is broken. Cost: one pass over
    /// all links.
    pub fn reachable(&self) -> usize {
        match &self.body {
            Body::Flat(flat) => flat.points.len(),
            Body::Hnsw(hnsw) => hnsw.reachable(),
            Body::IvfPq(ivf) => ivf.reachable(),
        }
    }
}

/// Position of the first component that is NaN or infinite. One pass for the largest magnitude tells the usual case,
/// none.
fn not_finite(vector: &[f32], space: Space) -> Option<usize> {
    let largest = (space.kernels().largest)(vector);
    if largest.is_finite() { None } else { vector.iter().position(|x| !x.is_finite()) }
}
