//! Which slots a search may return.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::bitset::BitSet;
use crate::revision::ViewRevision;

/// A condition on slots with an estimate of how many points meet it. The estimate steers the plan, never who may be found.
///
/// Keep it for further searches of the same view (or of an index that is not written meanwhile): from as many queries on as
/// [`crate::Index::search_batch`] tells, it remembers whom it matches there, and each of the next takes as little as one of a batch. It
/// then holds some bytes for every point, and a short code of every one that matches. What is written makes it forget, and so does
/// another view.
pub struct Filter<'a> {
    rule: Rule<'a>,
    expected: usize,
    fewest: usize,
    state: ArcSwapOption<FilterState>,
}

/// What a filter remembers of an edition of an index.
pub(crate) struct FilterState {
    revision: ViewRevision,
    /// Queries it was asked for there.
    queries_seen: AtomicUsize,
    /// Whether somebody finds out, or has found out, whom it matches.
    is_being_computed: AtomicBool,
    /// Whom, as that kind of index notes it.
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

    /// So many more queries are asked; how many that makes.
    pub fn add_queries(&self, queries: usize) -> usize {
        self.queries_seen.fetch_add(queries, Ordering::Relaxed).saturating_add(queries)
    }

    /// Whom it matches; found out if that is worth it for so many queries, of this search or of all. Nobody waits: while one finds it out,
    /// others do without or find it out too, whichever takes less.
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
    /// Ascending, without repetition; and the same as bits where they lie close enough together for that to be small.
    Slots(Vec<u32>, Option<BitSet>),
}

/// Bits that one listed slot may cost at most.
const BITS_PER_SLOT: usize = 128;

impl<'a> Filter<'a> {
    /// Slots for which `accepts` holds. `expected`: about how many of the points that is. `accepts` is called for up to
    /// every point, for some twice, and must answer the same as long as the filter is kept.
    pub fn predicate(accepts: &'a (dyn Fn(u32) -> bool + Sync), expected: usize) -> Self {
        Self { rule: Rule::Predicate(accepts), expected, fewest: expected, state: ArcSwapOption::empty() }
    }

    /// At least about how many of the points meet the condition, where `expected` is uncertain: if so few would all be compared,
    /// those that match are, and the answer is exact.
    #[must_use]
    pub fn at_least(self, fewest: usize) -> Self {
        Self { fewest: fewest.min(self.expected), ..self }
    }

    /// Exactly these slots, in any order; unknown ones match nothing, repeated ones count once. Cost: one sort, and
    /// never a look at the other points when they are few.
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

    /// What it remembers of an edition; it forgets any other.
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

    /// The matching slots where they are listed.
    pub(crate) fn listed(&self) -> Option<&[u32]> {
        match &self.rule {
            Rule::Predicate(_) => None,
            Rule::Slots(slots, _) => Some(slots),
        }
    }
}
