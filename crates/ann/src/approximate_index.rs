//! What finds near points without a look at all of them, as its queue sees it.

use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::params::SearchParams;
use crate::quantization::Codes;
use crate::search_request::SearchRequest;
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

/// Points arranged so that near ones are found without a look at all. A function of the blocks of writes it receives: a place
/// is sought for every point of a block before any of them comes in, so that many can be sought at once.
pub(crate) trait ApproximateIndex: Sync + Sized {
    /// Where a point would go.
    type InsertPlan: Clone + Send + Sync;

    /// Seeks a place for the `nth` point of a block that comes in, from 1.
    fn plan_insert(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> Self::InsertPlan;

    /// Takes in a node whose vector is in its row.
    fn insert(&mut self, node: u32, plan: &Self::InsertPlan, vectors: Vectors<'_>);

    /// Lets a node go whose vector is still in its row.
    fn remove(&mut self, node: u32, vectors: Vectors<'_>);

    /// Brings up to date what searches alone look at, after any number of [`Self::insert`] and [`Self::remove`] and before the next
    /// search.
    fn refresh(&mut self, vectors: Vectors<'_>);

    /// What searches look at, as it is now, whatever is done to the structure from now on. It is only searched.
    fn view(&mut self) -> Self;

    /// As [`Self::view`], with all that a snapshot holds.
    fn image(&mut self) -> Self;

    /// What it notes of those who match, for all queries that share knowing them.
    type FilterCache: Default + Send + Sync + 'static;

    /// Queries that [`Self::search_all`] is best asked at once.
    const BATCH_SIZE: usize;

    /// Near nodes of each query, of those accepted: `k` at least while there are as many. None where comparing with all is cheaper.
    /// `cache`: where it is known who matches, and so to ask is cheap and `matching` exact; and how many queries have shared that.
    fn search_all(
        &self,
        request: &SearchRequest<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        cache: Option<(&Self::FilterCache, usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Neighbor>>>;

    /// [`Self::search_all`] of the one query that is asked.
    fn search_one(
        &self,
        request: &SearchRequest<'_>,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Option<Vec<Neighbor>> {
        self.search_all(request, &[request.query], accepts, None, vectors).pop().flatten()
    }

    /// Of nodes that match and would be compared by their vectors with what is asked, leaves those that are worth it.
    fn prefilter(&self, _request: &SearchRequest<'_>, _nodes: &mut Vec<u32>, _space: Space) {}

    /// Codes of single nodes, if it has them: cheaper to compare than vectors.
    fn codes(&self) -> Option<&Codes>;

    /// How many live nodes a search without bounds would find; `is_live` tells which are.
    fn count_reachable(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize;
}

/// An index with a part that is trained on the points, such as centroids.
pub(crate) trait Trainable: Sized {
    /// What is being learnt from the points, a piece at a time.
    type Training: Send + Sync;

    /// Whether something is to be learnt before the next block.
    fn needs_training(&self, points: &Points) -> bool;

    /// Begins to, where it is due.
    fn begin_training(&self, points: &Points, space: Space) -> Self::Training;

    /// Does a piece of the work, which no search sees; true if it was the last.
    fn train_step(&self, training: &mut Self::Training, points: &Points, space: Space) -> bool;

    /// Goes by what was learnt from now on.
    fn install(&mut self, training: Self::Training);

    /// How many points have come in since something was learnt; none where nothing was.
    fn inserted_since_training(&self) -> Option<u64> {
        None
    }
}

/// An index whose recall is measured by probes, see [`crate::recall_model`].
pub(crate) trait RecallTunable: ApproximateIndex + Trainable {
    /// Whether nothing was learnt from some nodes and no other is found by them, so that they can be asked for as if they were not there.
    const HAS_HOLDOUT: bool;

    /// Whether this is one of them.
    fn is_holdout(&self, _node: u32) -> bool {
        false
    }

    /// Efforts of a search that are worth trying, the least first.
    const EFFORTS: &[usize];

    /// A search for `k` of this effort.
    fn params_for_effort(effort: usize, k: usize) -> SearchParams;
}
