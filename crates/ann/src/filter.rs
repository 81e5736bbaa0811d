//! Filters: the slots that a search may return.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::bitset::BitSet;
use crate::revision::ViewRevision;

/// A condition on slots, with an estimate of the number of matching points. The estimate affects the plan of a search,
/// never the set of points that may be found.
///
/// Reuse a filter for further searches of the same view (or of an index that is not written meanwhile). After the
/// number of queries that [`crate::Index::search_batch`] names, the filter caches its matching set, and each further
/// query costs as little as one of a batch. The cache takes some bytes per point of the index, and a short code per
/// matching point. Every write invalidates it, and so does another view.
pub struct Filter<'a> {
    rule: Rule<'a>,
    expected: usize,
    fewest: usize,
    state: ArcSwapOption<FilterState>,
}

/// State of a filter for one revision of an index.
pub(crate) struct FilterState {
    revision: ViewRevision,
    /// Queries that used the filter with this revision.
    queries_seen: AtomicUsize,
    /// Whether a thread computes the matching set, or has computed it.
    is_being_computed: AtomicBool,
    /// The matching set; its type depends on the kind of index.
    matches: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl FilterState {
    fn new(revision: ViewRevision) -> Self {
        Self {
            revision,
            queries_seen: AtomicUsize::new(0),
            is_being_computed: AtomicBool::new(false),
            matches: OnceLock::new(),
        }
    }

    /// Counts further queries and returns the new total.
    pub fn add_queries(&self, queries: usize) -> usize {
        self.queries_seen.fetch_add(queries, Ordering::Relaxed).saturating_add(queries)
    }

    /// The matching set, computed if `is_worth_it` for the queries of this search or for the total. Lock-free: while
    /// one thread computes it, others search without it or compute it too, whichever is cheaper.
    pub fn matches<T: Send + Sync + 'static>(
        &self,
        (in_search, in_total): (usize, usize),
        is_worth_it: impl Fn(usize) -> bool,
        compute: impl FnOnce() -> T,
    ) -> Option<&T> {
        let computes =
            || is_worth_it(in_search) || is_worth_it(in_total) && !self.is_being_computed.swap(true, Ordering::Relaxed);
        if self.matches.get().is_none() && computes() {
            _ = self.matches.set(Box::new(compute()));
        }
        self.matches.get().map(|matches| matches.downcast_ref().expect("a revision belongs to one index"))
    }
}

enum Rule<'a> {
    Predicate(&'a (dyn Fn(u32) -> bool + Sync)),
    /// Ascending, without repetition; also as a bit set where the slots are dense enough for a small one.
    Slots(Vec<u32>, Option<BitSet>),
}

/// Bits per listed slot that the bit set may take, at most.
const BITS_PER_SLOT: usize = 128;

impl<'a> Filter<'a> {
    /// Matches slots for which `accepts` returns true. `expected`: estimated number of matching points. `accepts` is
    /// called for up to every point, for some twice, and must return the same result for the lifetime of the filter.
    pub fn predicate(accepts: &'a (dyn Fn(u32) -> bool + Sync), expected: usize) -> Self {
        Self { rule: Rule::Predicate(accepts), expected, fewest: expected, state: ArcSwapOption::empty() }
    }

    /// A lower bound of the number of matching points, where `expected` is uncertain. If that few points would all be
    /// compared, the answer is exact.
    #[must_use]
    pub fn at_least(self, fewest: usize) -> Self {
        Self { fewest: fewest.min(self.expected), ..self }
    }

    /// Matches exactly these slots, in any order; unknown slots match nothing, repeated ones count once. Cost: one
    /// sort. A short list is resolved without a pass over other points.
    pub fn slots(slots: impl Into<Vec<u32>>) -> Self {
        let mut slots = slots.into();
        slots.sort_unstable();
        slots.dedup();
        let most = slots.last().map_or(0, |last| *last as usize + 1);
        let bits = (most <= slots.len() * BITS_PER_SLOT).then(|| BitSet::of(&slots, most));
        Self {
            expected: slots.len(),
            fewest: slots.len(),
            rule: Rule::Slots(slots, bits),
            state: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn accepts(&self, slot: u32) -> bool {
        match &self.rule {
            Rule::Predicate(accepts) => accepts(slot),
            Rule::Slots(_, Some(bits)) => bits.contains(slot),
            Rule::Slots(slots, None) => slots.binary_search(&slot).is_ok(),
        }
    }

    /// The state for a revision; it replaces the state for any other.
    pub(crate) fn state(&self, revision: ViewRevision) -> Arc<FilterState> {
        self.state.load_full().filter(|state| state.revision == revision).unwrap_or_else(|| {
            let state = Arc::new(FilterState::new(revision));
            self.state.store(Some(Arc::clone(&state)));
            state
        })
    }

    pub(crate) fn expected(&self) -> usize {
        self.expected
    }

    pub(crate) fn fewest(&self) -> usize {
        self.fewest
    }

    /// The listed slots, ascending; none for a predicate.
    pub(crate) fn listed(&self) -> Option<&[u32]> {
        match &self.rule {
            Rule::Predicate(_) => None,
            Rule::Slots(slots, _) => Some(slots),
        }
    }
}
