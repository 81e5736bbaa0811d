//! Which slots a search may return.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use crate::bitset::BitSet;
use crate::edition::Edition;
use crate::once::Once;

/// A condition on slots with an estimate of how many points meet it. The estimate steers the plan, never the answer.
///
/// Keep it for further searches of the same view (or of an index that is not written meanwhile): after some dozen queries it remembers
/// whom it matches there, and each of the next takes as little as one of a batch. It then holds some bytes for every point, and for
/// every one that matches a bit for each of its numbers. What is written makes it forget.
pub struct Filter<'a> {
    rule: Rule<'a>,
    expected: usize,
    memory: ArcSwapOption<Memory>,
}

/// What a filter remembers of an edition of an index.
pub(crate) struct Memory {
    of: Edition,
    /// Queries it was asked for there.
    asked: AtomicUsize,
    /// Whom it matches, as that kind of index notes it.
    matches: Once<Box<dyn Any + Send + Sync>>,
}

impl Memory {
    /// So many more queries are asked; how many that makes.
    pub fn ask(&self, queries: usize) -> usize {
        self.asked.fetch_add(queries, Ordering::Relaxed).saturating_add(queries)
    }

    /// Whom it matches; found out if that is worth it.
    pub fn matches<T: Send + Sync + 'static>(&self, find: impl FnOnce() -> Option<T>) -> Option<&T> {
        let matches = self.matches.if_any(|| find().map(|found| Box::new(found) as _));
        matches.map(|matches| matches.downcast_ref().expect("an edition is of one index"))
    }
}

enum Rule<'a> {
    Predicate(&'a (dyn Fn(u32) -> bool + Sync)),
    /// Ascending, without repetition; and the same as bits where they lie close enough together for that to be small.
    Slots(Vec<u32>, Option<BitSet>),
}

/// Bits that one listed slot may cost at most.
const BITS_A_SLOT: usize = 128;

impl<'a> Filter<'a> {
    /// Slots for which `accepts` holds. `expected`: about how many of the points that is. `accepts` is called for up to
    /// every point, for some twice, and must answer the same as long as the filter is kept.
    pub fn predicate(accepts: &'a (dyn Fn(u32) -> bool + Sync), expected: usize) -> Self {
        Self { rule: Rule::Predicate(accepts), expected, memory: ArcSwapOption::empty() }
    }

    /// Exactly these slots, in any order; unknown ones match nothing, repeated ones count once. Cost: one sort, and
    /// never a look at the other points when they are few.
    pub fn slots(slots: impl Into<Vec<u32>>) -> Self {
        let mut slots = slots.into();
        slots.sort_unstable();
        slots.dedup();
        let most = slots.last().map_or(0, |last| *last as usize + 1);
        let bits = (most <= slots.len() * BITS_A_SLOT).then(|| BitSet::of(&slots, most));
        Self { expected: slots.len(), rule: Rule::Slots(slots, bits), memory: ArcSwapOption::empty() }
    }

    pub(crate) fn accepts(&self, slot: u32) -> bool {
        match &self.rule {
            Rule::Predicate(accepts) => accepts(slot),
            Rule::Slots(_, Some(bits)) => bits.has(slot),
            Rule::Slots(slots, None) => slots.binary_search(&slot).is_ok(),
        }
    }

    /// What it remembers of an edition; it forgets any other.
    pub(crate) fn memory(&self, edition: &Edition) -> Arc<Memory> {
        self.memory.load_full().filter(|memory| memory.of.is(edition)).unwrap_or_else(|| {
            let memory = Memory { of: edition.clone(), asked: AtomicUsize::new(0), matches: Once::default() };
            let memory = Arc::new(memory);
            self.memory.store(Some(Arc::clone(&memory)));
            memory
        })
    }

    pub(crate) fn expected(&self) -> usize {
        self.expected
    }

    /// The matching slots where they are listed.
    pub(crate) fn listed(&self) -> Option<&[u32]> {
        match &self.rule {
            Rule::Predicate(_) => None,
            Rule::Slots(slots, _) => Some(slots),
        }
    }
}
