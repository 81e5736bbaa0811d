//! IVF-PQ: inverted lists with product codes of 4 bits, and exact distances for the best of them.
//!
//! - `coarse_quantizer`: centroids; `inverted_list`, `inverted_lists`: nodes and codes per list, each node on up to two
//!   lists;
//! - `codebook`: values of codes; `distance_table`: their distances from a query;
//! - `training`: centroids and codebook; `search`, `reservoir`: execution of queries;
//! - `masks`, `packed_codes`: data shared by queries with one filter, for many and for few matches.
//!
//! Training is repeated when the number of points has doubled by inserts since the last one. Before the first training,
//! searches compare every point.

mod coarse_quantizer;
mod codebook;
mod distance_table;
mod inverted_list;
mod inverted_lists;
mod masks;
mod packed_codes;
mod reservoir;
mod search;
#[cfg(test)]
mod tests;
mod training;

use crate::approximate_index::{ApproximateIndex, RecallTunable, Trainable};
use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::once_cell::RacyOnceCell;
use crate::params::{LISTS_PER_POINT, SearchParams};
use crate::planner::{CostModel, SharedExecution};
use crate::quantization::Codes;
use crate::recall_model::RECALL_K;
use crate::search_request::SearchRequest;
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

pub(crate) use coarse_quantizer::CoarseQuantizer;
pub(crate) use codebook::Codebook;
pub(crate) use inverted_lists::{InvertedLists, ListEntries, ListEntry};
use masks::{Masks, PredicateFilter};
use packed_codes::PackedCodes;
use search::ListSearch;
use training::{Training, is_holdout};

/// Points from which on lists are trained: comparing fewer takes less than 0.1 ms.
const MIN_TRAINING_POINTS: usize = 2_048;

/// Points per list, at least.
const MIN_POINTS_PER_LIST: usize = 16;

/// Number of lists per square root of the number of points.
const LISTS_PER_SQRT: usize = 8;

/// Data derived from a matching set, computed on first use.
#[derive(Default)]
pub(crate) struct FilterCache {
    masks: RacyOnceCell<Masks>,
    packed: RacyOnceCell<PackedCodes>,
}

/// The lists, after the first training.
pub(crate) struct Ivf {
    nlist: Option<usize>,
    parts: usize,
    lists: Option<Box<InvertedLists>>,
}

/// A training in progress.
#[derive(Default)]
pub(crate) enum TrainingState {
    Training(Box<Training>),
    Trained(Box<InvertedLists>),
    /// A step is running.
    #[default]
    Stepping,
}

impl Ivf {
    /// `nlist`: number of lists, by the number of points if absent. `parts`: codes per vector.
    pub fn from_parts(nlist: Option<usize>, parts: usize, lists: Option<InvertedLists>) -> Self {
        Self { nlist, parts, lists: lists.map(Box::new) }
    }

    pub fn lists(&self) -> Option<&InvertedLists> {
        self.lists.as_deref()
    }

    /// Number of lists for `points` points.
    fn lists_for(&self, points: usize) -> usize {
        self.nlist.unwrap_or_else(|| LISTS_PER_SQRT * points.isqrt()).clamp(1, points.div_ceil(MIN_POINTS_PER_LIST))
    }

    pub fn bytes(&self) -> usize {
        self.lists.as_ref().map_or(0, |lists| lists.bytes())
    }
}

impl ApproximateIndex for Ivf {
    /// None before the first training.
    type InsertPlan = Option<ListEntries>;

    fn plan_insert(&self, vector: &[f32], _: u64, vectors: Vectors<'_>) -> Option<ListEntries> {
        self.lists.as_ref().map(|lists| lists.assign(vector, vectors.space))
    }

    fn insert(&mut self, node: u32, plan: &Option<ListEntries>, vectors: Vectors<'_>) {
        if let (Some(lists), Some(entries)) = (&mut self.lists, plan) {
            entries.iter().for_each(|entry| {
                lists.add(node, entry, vectors.space);
            });
            lists.inserted_since = lists.inserted_since.saturating_add(1);
        }
    }

    fn remove(&mut self, node: u32, _: Vectors<'_>) {
        if let Some(lists) = &mut self.lists {
            lists.remove(node);
        }
    }

    fn refresh(&mut self, _: Vectors<'_>) {}

    fn view(&mut self) -> Self {
        Self::from_parts(self.nlist, self.parts, self.lists.as_ref().map(|lists| lists.view()))
    }

    fn image(&mut self) -> Self {
        self.view()
    }

    type FilterCache = FilterCache;

    /// A list is read once for all queries of a batch.
    const BATCH_SIZE: usize = usize::MAX;

    fn search_all(
        &self,
        request: &SearchRequest<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        cache: Option<(&FilterCache, usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Neighbor>>> {
        let none = vec![None; queries.len()];
        let Some(lists) = &self.lists else { return none };
        let costs = CostModel::new(lists.coarse.len(), request);
        // If fewer points match than estimated, the scanned lists hold few of them.
        let enough = request.k.saturating_mul(LISTS_PER_POINT);
        let (nprobe, rerank) = (costs.nprobe, costs.rerank.max(enough));
        let least = if request.is_filtered { rerank } else { enough };
        let params = ListSearch { nprobe, rerank, least };
        let found = if let Some((cache, sharing)) = cache.filter(|_| costs.may_use_masks()) {
            let masks = cache.masks.get_or_compute(|| Masks::new(lists, accepts));
            match costs.shared_execution(masks.reachable_codes(), sharing) {
                SharedExecution::Scan => return none,
                SharedExecution::Lists => lists.search(queries, params, masks, vectors),
                SharedExecution::Packed => {
                    let packed = cache.packed.get_or_compute(|| PackedCodes::new(lists, masks));
                    lists.search_packed(queries, rerank, packed, vectors)
                }
            }
        } else if costs.is_scan_cheaper() {
            return none;
        } else {
            lists.search(queries, params, &PredicateFilter(accepts), vectors)
        };
        found.into_iter().map(Some).collect()
    }

    fn prefilter(&self, request: &SearchRequest<'_>, nodes: &mut Vec<u32>, space: Space) {
        let Some(lists) = &self.lists else { return };
        let costs = CostModel::new(lists.coarse.len(), &SearchRequest { matching: nodes.len(), ..*request });
        if let Some((worth, _)) = costs.prefilter() {
            lists.prefilter(request.query, nodes, worth, space);
        }
    }

    /// Codes are stored in blocks, not per node.
    fn codes(&self) -> Option<&Codes> {
        None
    }

    fn count_reachable(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize {
        match &self.lists {
            Some(lists) => (0..points.nodes()).filter(|node| lists.contains(*node) && is_live(*node)).count(),
            None => (0..points.nodes()).filter(|node| is_live(*node)).count(),
        }
    }
}

impl Trainable for Ivf {
    type Training = TrainingState;

    fn needs_training(&self, points: &Points) -> bool {
        let first =
            self.nlist.map_or(MIN_TRAINING_POINTS, |nlist| MIN_TRAINING_POINTS.min(nlist * MIN_POINTS_PER_LIST));
        points.len() >= first
            && self.lists.as_ref().is_none_or(|lists| lists.inserted_since >= lists.trained_for as u64)
    }

    fn begin_training(&self, points: &Points, space: Space) -> TrainingState {
        let training = Training::new(points, self.lists_for(points.len()), self.parts, space);
        TrainingState::Training(Box::new(training))
    }

    fn train_step(&self, state: &mut TrainingState, points: &Points, space: Space) -> bool {
        if let TrainingState::Training(training) = std::mem::take(state) {
            *state = match training.step(points, space) {
                Ok(lists) => TrainingState::Trained(Box::new(lists)),
                Err(training) => TrainingState::Training(training),
            };
        }
        !matches!(state, TrainingState::Training(_))
    }

    fn install(&mut self, state: TrainingState) {
        if let TrainingState::Trained(lists) = state {
            self.lists = Some(lists);
        }
    }

    fn inserted_since_training(&self) -> Option<u64> {
        self.lists.as_ref().map(|lists| lists.inserted_since)
    }
}

impl RecallTunable for Ivf {
    const HAS_HOLDOUT: bool = true;

    fn is_holdout(&self, node: u32) -> bool {
        is_holdout(node)
    }

    const EFFORTS: &[usize] = &[4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

    /// More lists yield more candidates, which need more reranking.
    fn params_for_effort(effort: usize, k: usize) -> SearchParams {
        let rerank = k.saturating_mul(4).saturating_add(effort.saturating_mul(k).div_ceil(RECALL_K));
        SearchParams { nprobe: Some(effort), rerank: Some(rerank), ..SearchParams::default() }
    }
}
