//! Which slots a search may return.

use crate::bitset::BitSet;

/// A condition on slots with an estimate of how many points meet it. The estimate steers the plan, never the answer.
pub struct Filter<'a> {
    rule: Rule<'a>,
    expected: usize,
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
    /// every point, for some twice, and must answer the same each time.
    pub fn predicate(accepts: &'a (dyn Fn(u32) -> bool + Sync), expected: usize) -> Self {
        Self { rule: Rule::Predicate(accepts), expected }
    }

    /// Exactly these slots, in any order; unknown ones match nothing, repeated ones count once. Cost: one sort, and
    /// never a look at the other points when they are few. May be kept for many searches.
    pub fn slots(slots: impl Into<Vec<u32>>) -> Self {
        let mut slots = slots.into();
        slots.sort_unstable();
        slots.dedup();
        let most = slots.last().map_or(0, |last| *last as usize + 1);
        let bits = (most <= slots.len() * BITS_A_SLOT).then(|| BitSet::of(&slots, most));
        Self { expected: slots.len(), rule: Rule::Slots(slots, bits) }
    }

    pub(crate) fn accepts(&self, slot: u32) -> bool {
        match &self.rule {
            Rule::Predicate(accepts) => accepts(slot),
            Rule::Slots(_, Some(bits)) => bits.has(slot),
            Rule::Slots(slots, None) => slots.binary_search(&slot).is_ok(),
        }
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
