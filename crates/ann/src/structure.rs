//! What finds near points without a look at all of them, as its queue sees it.

use std::borrow::Cow;

use crate::codes::Codes;
use crate::index::SearchParams;
use crate::near::Near;
use crate::originals::Originals;
use crate::points::Points;
use crate::space::Space;

/// Vectors of nodes with the distance between them.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub rows: &'a Originals,
    pub space: Space,
}

impl<'a> Vectors<'a> {
    pub fn row(&self, node: u32) -> Cow<'a, [f32]> {
        self.rows.row(node)
    }

    #[inline]
    pub fn to(&self, query: &[f32], node: u32) -> f32 {
        self.rows.distance(&self.space, query, node)
    }

    /// Calls `meet` with the distance of each of some nodes, and which it is.
    pub fn each(&self, query: &[f32], nodes: &[u32], meet: impl FnMut(f32, u32)) {
        self.rows.each(&self.space, query, nodes, meet);
    }

    /// Distances by vectors in place of others; the order stays.
    pub fn compare_again(&self, query: &[f32], nears: &mut Vec<Near>) {
        let nodes: Vec<u32> = nears.iter().map(|near| near.id()).collect();
        nears.clear();
        self.each(query, &nodes, |distance, node| nears.push(Near::new(distance, node)));
    }
}

/// What is asked of a structure.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub query: &'a [f32],
    /// Nodes wanted, 1 at least.
    pub k: usize,
    pub params: &'a SearchParams,
    /// Points that the structure holds.
    pub points: usize,
    /// About how many of them the filter matches; all where there is none.
    pub matching: usize,
    pub is_filtered: bool,
    pub scanning: Scanning,
}

/// How a query is compared with all who match, where that is done by codes.
#[derive(Clone, Copy)]
pub(crate) enum Scanning {
    /// By sketches first, wherever they lie.
    Sketches,
    /// By sketches first, which were packed for earlier queries.
    Packed,
    /// With many other queries, by codes side by side.
    Together,
}

impl Ask<'_> {
    /// How many of all points hold so many that match, if these are spread evenly.
    pub fn spread(&self, matching: usize) -> usize {
        matching.saturating_mul(self.points) / self.matching.max(1)
    }

    /// How many of the nearest by codes are compared by their vectors, at most; `shortlist` where nothing is said.
    pub fn rerank(&self, shortlist: usize) -> usize {
        self.params.rerank.unwrap_or(shortlist).max(self.k)
    }

    /// Those found by codes, nearest first, by their vectors; where nothing is said, the first as many as are `plausible`.
    pub fn compare_again(
        &self,
        mut found: Vec<Near>,
        plausible: impl FnOnce(&[Near]) -> usize,
        vectors: Vectors<'_>,
    ) -> Vec<Near> {
        if self.params.rerank.is_none() {
            found.truncate(plausible(&found));
        }
        vectors.compare_again(self.query, &mut found);
        found
    }
}

/// Points arranged so that near ones are found without a look at all. A function of the blocks of writes it receives: a place
/// is sought for every point of a block before any of them comes in, so that many can be sought at once.
pub(crate) trait Structure: Sync + Sized {
    /// Where a point would go.
    type Survey: Clone + Send + Sync;

    /// Seeks a place for the `nth` point of a block that comes in, from 1.
    fn survey(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> Self::Survey;

    /// Takes in a node whose vector is in its row.
    fn insert(&mut self, node: u32, survey: &Self::Survey, vectors: Vectors<'_>);

    /// Lets a node go whose vector is still in its row.
    fn remove(&mut self, node: u32, vectors: Vectors<'_>);

    /// Brings up to date what searches alone look at, after any number of [`Self::insert`] and [`Self::remove`] and before the next
    /// search.
    fn settle(&mut self, vectors: Vectors<'_>);

    /// What searches look at, as it is now, whatever is done to the structure from now on. It is only searched.
    fn view(&mut self) -> Self;

    /// As [`Self::view`], with all that a snapshot holds.
    fn image(&mut self) -> Self;

    /// Whether nothing was learnt from some nodes and no other is found by them, so that they can be asked for as if they were not there.
    const HOLDS_OUT: bool;

    /// Whether this is one of them.
    fn is_held_out(&self, _node: u32) -> bool {
        false
    }

    /// Efforts of a search that are worth trying, the least first.
    const EFFORTS: &[usize];

    /// A search for `k` of this effort.
    fn with_effort(effort: usize, k: usize) -> SearchParams;

    /// What is being learnt from the points, a piece at a time.
    type Learning: Send + Sync;

    /// Whether something is to be learnt before the next block.
    fn is_due(&self, points: &Points) -> bool;

    /// Begins to, where it is due.
    fn learning(&self, points: &Points, space: Space) -> Self::Learning;

    /// Does a piece of the work, which no search sees; true if it was the last.
    fn learn(&self, learning: &mut Self::Learning, points: &Points, space: Space) -> bool;

    /// Goes by what was learnt from now on.
    fn go_by(&mut self, learning: Self::Learning);

    /// What it notes of those who match, for all queries that share knowing them.
    type Noted: Default + Send + Sync + 'static;

    /// Queries that [`Self::find_all`] is best asked at once.
    const TOGETHER: usize;

    /// Near nodes of each query, of those accepted: `k` at least while there are as many. None where comparing with all is cheaper.
    /// `noted`: where it is known who matches, and so to ask is cheap and `matching` exact; and how many queries have shared that.
    fn find_all(
        &self,
        ask: &Ask<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        noted: Option<(&Self::Noted, usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Near>>>;

    /// [`Self::find_all`] of the one query that is asked.
    fn find(&self, ask: &Ask<'_>, accepts: impl Fn(u32) -> bool, vectors: Vectors<'_>) -> Option<Vec<Near>> {
        self.find_all(ask, &[ask.query], accepts, None, vectors).pop().flatten()
    }

    /// Of nodes that match and would be compared by their vectors with what is asked, leaves those that are worth it.
    fn sift(&self, _ask: &Ask<'_>, _nodes: &mut Vec<u32>, _space: Space) {}

    /// Codes of single nodes, if it has them: cheaper to compare than vectors.
    fn codes(&self) -> Option<&Codes>;

    /// How many points have come in since something was learnt; none where nothing was.
    fn come_since_learnt(&self) -> Option<u64> {
        None
    }

    /// How many live nodes a search without bounds would find; `is_live` tells which are.
    fn reached(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize;
}
