//! Traits implemented by the approximate indexes (HNSW, IVF-PQ) behind the write buffer.

use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::params::SearchParams;
use crate::quantization::Codes;
use crate::search_request::SearchRequest;
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

/// An approximate index. It is a function of the blocks of writes that it receives. Every insert of a block is planned
/// before the first is applied, so that plans can be computed in parallel.
pub(crate) trait ApproximateIndex: Sync + Sized {
    /// Result of the search that precedes an insert.
    type InsertPlan: Clone + Send + Sync;

    /// Plans the insert of the `nth` new point of a block, from 1.
    fn plan_insert(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> Self::InsertPlan;

    /// Inserts a node whose vector is stored already.
    fn insert(&mut self, node: u32, plan: &Self::InsertPlan, vectors: Vectors<'_>);

    /// Removes a node whose vector is still stored.
    fn remove(&mut self, node: u32, vectors: Vectors<'_>);

    /// Updates data that only searches read, after any number of [`Self::insert`] and [`Self::remove`] and before the
    /// next search.
    fn refresh(&mut self, vectors: Vectors<'_>);

    /// The searchable part of the current state, unaffected by later writes.
    fn view(&mut self) -> Self;

    /// As [`Self::view`], with everything that a snapshot holds.
    fn image(&mut self) -> Self;

    /// Data derived from a matching set, shared by all queries that use the set.
    type FilterCache: Default + Send + Sync + 'static;

    /// Queries per call of [`Self::search_all`] for best throughput.
    const BATCH_SIZE: usize;

    /// Neighbors of each query among the accepted nodes: at least `k` while `k` are accepted. None where a scan is
    /// cheaper. `cache`: present when the matching set is known, so that `accepts` is cheap and `matching` exact; with
    /// the number of queries that share it.
    fn search_all(
        &self,
        request: &SearchRequest<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        cache: Option<(&Self::FilterCache, usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Neighbor>>>;

    /// [`Self::search_all`] for the query of the request.
    fn search_one(
        &self,
        request: &SearchRequest<'_>,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Option<Vec<Neighbor>> {
        self.search_all(request, &[request.query], accepts, None, vectors).pop().flatten()
    }

    /// Drops matching nodes that are not worth a comparison by vector.
    fn prefilter(&self, _request: &SearchRequest<'_>, _nodes: &mut Vec<u32>, _space: Space) {}

    /// Codes of single nodes, if the index has them; cheaper to compare than vectors.
    fn codes(&self) -> Option<&Codes>;

    /// Number of live nodes that an unbounded search finds.
    fn count_reachable(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize;
}

/// An index with a component that is trained on the points, such as centroids.
pub(crate) trait Trainable: Sized {
    /// State of a training that runs in steps.
    type Training: Send + Sync;

    /// Whether training must run before the next block.
    fn needs_training(&self, points: &Points) -> bool;

    /// Starts a training that [`Self::needs_training`] demands.
    fn begin_training(&self, points: &Points, space: Space) -> Self::Training;

    /// Runs one step, which no search sees; true if it was the last.
    fn train_step(&self, training: &mut Self::Training, points: &Points, space: Space) -> bool;

    /// Puts the result of a training into use.
    fn install(&mut self, training: Self::Training);

    /// Points inserted since the last training; none before the first.
    fn inserted_since_training(&self) -> Option<u64> {
        None
    }
}

/// An index whose recall is measured by probes, see [`crate::recall_model`].
pub(crate) trait RecallTunable: ApproximateIndex + Trainable {
    /// Whether the index keeps a hold-out set, excluded from training and usable as recall queries.
    const HAS_HOLDOUT: bool;

    /// Whether a node belongs to the hold-out set.
    fn is_holdout(&self, _node: u32) -> bool {
        false
    }

    /// Grid of efforts at which recall is measured, ascending.
    const EFFORTS: &[usize];

    /// Search parameters of an effort for `k` neighbors.
    fn params_for_effort(effort: usize, k: usize) -> SearchParams;
}
