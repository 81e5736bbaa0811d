//! The one door to every kind of index.

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

/// Points that can be searched by nearness. One writer; readers beside it look at a [`View`].
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

/// Why a vector was not taken in. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpsertError {
    /// The vector has another length than the index.
    #[error("vector must have {expected} dimensions (got {found})")]
    Dim {
        /// The vector's.
        found: usize,
        /// The index's.
        expected: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {at} of the vector must be finite")]
    NotFinite {
        /// The first such component, from 0.
        at: usize,
    },
    /// This number is reserved.
    #[error("slot must not be {NO_SLOT}, which is reserved")]
    Slot,
}

/// Why a query was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The query has another length than the index.
    #[error("query must have {expected} dimensions (got {found})")]
    Dim {
        /// The query's.
        found: usize,
        /// The index's.
        expected: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {at} of the query must be finite")]
    NotFinite {
        /// The first such component, from 0.
        at: usize,
    },
}

/// Sizes of an index. Bytes are what is set aside, allocator overhead apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Points that a search may return.
    pub live: usize,
    /// Points that the graph still holds though they were deleted or replaced.
    pub tombstones: usize,
    /// As [`Index::pending`].
    pub pending: usize,
    /// Vectors that are merged, wherever they are kept.
    pub vector_bytes: usize,
    /// Those of them that are in memory, and in no file.
    pub resident_vector_bytes: usize,
    /// Links, or lists with their codes, and what belongs to them.
    pub graph_bytes: usize,
    /// Queued operations with their vectors.
    pub queue_bytes: usize,
    /// Tables between slots and nodes.
    pub table_bytes: usize,
}

impl Index {
    /// An empty index that computes with [`InstructionSet::best`] and keeps its vectors in memory.
    ///
    /// # Errors
    /// See [`Config::check`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::new_in(config, VectorStorage::Memory)
    }

    /// As [`Self::new`], with its vectors where it is told. What it finds and writes is the same.
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

    /// The same configuration and kernels around another body.
    pub(crate) fn with_body(&self, body: Body) -> Self {
        Self { config: self.config, space: self.space, body }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Computes with these instructions from now on. Results do not change.
    ///
    /// # Errors
    /// When this machine lacks them.
    pub fn use_instruction_set(&mut self, set: InstructionSet) -> Result<(), Unsupported> {
        self.space = Space::new(self.config.metric, &set.kernels()?);
        Ok(())
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Puts a vector on a slot, in the place of the one it held. The next search sees it.
    ///
    /// `vector.len() == dim`. Any slot but `u32::MAX` will do; memory is taken by point, not by the largest slot. Cost: a
    /// copy; beyond 8,192 pending operations also five steps of [`Self::merge`].
    ///
    /// # Errors
    /// On another length, on NaN or infinity, on the reserved slot; nothing has changed then.
    pub fn upsert(&mut self, slot: u32, vector: &[f32]) -> Result<(), UpsertError> {
        self.check(slot, vector)?;
        self.put(slot, vector);
        Ok(())
    }

    /// Puts a vector that may be there on a slot.
    fn put(&mut self, slot: u32, vector: &[f32]) {
        let kept = self.config.datatype.kept(vector);
        match &mut self.body {
            Body::Flat(flat) => flat.upsert(slot, &kept),
            Body::Hnsw(hnsw) => hnsw.upsert(slot, &kept, self.space),
            Body::IvfPq(ivf) => ivf.upsert(slot, &kept, self.space),
        }
    }

    /// Whether a vector may be put on a slot.
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

    /// Takes the point off a slot; false if it held none. No later search returns it, and the slot may be used again at
    /// once.
    pub fn delete(&mut self, slot: u32) -> bool {
        match &mut self.body {
            Body::Flat(flat) => flat.delete(slot),
            Body::Hnsw(hnsw) => hnsw.delete(slot, self.space),
            Body::IvfPq(ivf) => ivf.delete(slot, self.space),
        }
    }

    /// Operations not yet merged into the graph. Each search scans them, so merge soon. Up to 255 (an open block) stay
    /// however often [`Self::merge`] is called.
    pub fn pending(&self) -> usize {
        match &self.body {
            Body::Flat(_) => 0,
            Body::Hnsw(hnsw) => hnsw.buffer.pending(),
            Body::IvfPq(ivf) => ivf.buffer.pending(),
        }
    }

    /// Whether [`Self::merge`] would do anything.
    pub fn can_merge(&self) -> bool {
        match &self.body {
            Body::Flat(_) => false,
            Body::Hnsw(hnsw) => hnsw.can_merge(),
            Body::IvfPq(ivf) => ivf.can_merge(),
        }
    }

    /// Takes up to `most` steps that move queued operations into the graph, and says how many; fewer than `most` means that
    /// nothing is left to do. A step seeks one place, is one insert, one removal or both (a
    /// replacement), or a piece of what is learnt or tried. How the steps are spread over calls changes no graph.
    pub fn merge(&mut self, most: usize) -> usize {
        match &mut self.body {
            Body::Flat(_) => 0,
            Body::Hnsw(hnsw) => hnsw.merge(most, self.space),
            Body::IvfPq(ivf) => ivf.merge(most, self.space),
        }
    }

    /// Whether writes leave all merging to [`Self::merge`]: for a caller that applies many at once, and bounds them. Searches scan
    /// what is queued, and no graph changes by it.
    pub fn defer_merging(&mut self, defer: bool) {
        match &mut self.body {
            Body::Flat(_) => {}
            Body::Hnsw(hnsw) => hnsw.is_deferring = defer,
            Body::IvfPq(ivf) => ivf.is_deferring = defer,
        }
    }

    /// Rows, of the table that has the most of them, that are there twice because views may look at what they were. Merging makes
    /// them, and upserts of [`Kind::Flat`]; the next [`Self::view`] ends those that no view looks at any more.
    pub fn copied(&self) -> usize {
        match &self.body {
            Body::Flat(flat) => flat.points.vectors.patched_rows(),
            Body::Hnsw(hnsw) => hnsw.points.vectors.patched_rows().max(hnsw.index.patched_rows()),
            Body::IvfPq(ivf) => ivf.points.vectors.patched_rows(),
        }
    }

    /// Merges all that is queued, the open block too, which is closed by it; searches scan nothing afterwards. Places are
    /// sought by so many threads; how many changes no graph. That the block is closed here does: replicas that shall hold
    /// equal graphs call it after the same write. `progress` is told how many operations are left.
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

    /// Fills an index with many points at once, as [`Self::upsert`] and [`Self::merge_all`] would; but what effort reaches which recall is
    /// found out once, of all of them. For that, [`Kind::Hnsw`] takes in 2,000 last that are drawn from all over the batch, and so makes
    /// another graph. `progress` is told how many were taken in or held back.
    ///
    /// # Errors
    /// As [`Self::upsert`], with the place of the point; those before it are in.
    pub fn extend<'a>(
        &mut self,
        points: impl IntoIterator<Item = (u32, &'a [f32])>,
        threads: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), (usize, UpsertError)> {
        // What was there before has come in as it would have alone, whenever it was merged.
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
        // What was not held back comes in first, so that what is found out is of it too.
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
    /// All of them if there are fewer than `k`; none for `k = 0`, for an empty index and for a filter that matches
    /// nothing. Exact for Flat, for `exact`, where 256 points match or fewer, or `ef`, or as many as
    /// [`SearchParams::full_scan_bytes`] holds; else it may miss some in favour of others,
    /// but returns `k` while `k` match. A zero query under Cosine or Dot is equally far from all: ties by slot.
    ///
    /// # Errors
    /// On another length than `dim`, on NaN or infinity.
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

    /// What [`Self::search`] finds for each of many queries, or nearer. IVF-PQ answers some hundreds faster than one by one: a list that
    /// several of them look at is read from memory once. From 32 queries on, and one for each 8,192 points (1,024 where the filter is a
    /// predicate), it is found once for all who matches: several times as fast where few do. Those count that were asked before with
    /// the same [`Filter`], alone or together.
    ///
    /// # Errors
    /// As [`Self::search`], with the place of the query.
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

    /// The vector that the slot holds, as it was written; rounded where [`Config::datatype`] says so.
    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match &self.body {
            Body::Flat(flat) => flat.points.vector(slot),
            Body::Hnsw(hnsw) => hnsw.vector(slot),
            Body::IvfPq(ivf) => ivf.vector(slot),
        }
    }

    /// Whether the slot holds a vector. Cheaper than to ask for it.
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

    /// Sizes. Cost: a look at every node's lists.
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

    /// Live points that a search without bounds would find; equals [`Self::len`] unless the graph is broken. Cost: every
    /// link is followed once.
    pub fn reachable(&self) -> usize {
        match &self.body {
            Body::Flat(flat) => flat.points.len(),
            Body::Hnsw(hnsw) => hnsw.reachable(),
            Body::IvfPq(ivf) => ivf.reachable(),
        }
    }
}

/// The first component that is NaN or infinite. Mostly there is none, which one look at all tells.
fn not_finite(vector: &[f32], space: Space) -> Option<usize> {
    let largest = (space.kernels().largest)(vector);
    if largest.is_finite() { None } else { vector.iter().position(|x| !x.is_finite()) }
}
