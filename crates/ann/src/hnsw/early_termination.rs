//! Early termination of a beam search.

/// Terminates a search whose nearest candidates stop improving; much of its beam may be unused then (Teofili and Lin,
/// ECIR 2025, "Patience in Proximity").
pub(super) struct EarlyTermination {
    /// Candidates whose improvement counts: so many of the nearest.
    head: usize,
    steps: usize,
    /// Steps since the last improvement.
    steps_without_improvement: usize,
}

/// Part of the beam, one entry in so many, that may be expanded without an improvement.
const BEAM_SHARE: usize = 2;
/// Nearest candidates that count, at least: a single nearest one often stays the same for long.
const MIN_HEAD: usize = 10;

impl EarlyTermination {
    /// For `k` neighbors and a beam of `places` entries.
    pub fn new(k: usize, places: usize) -> Self {
        Self { head: k.max(MIN_HEAD), steps: places / BEAM_SHARE, steps_without_improvement: 0 }
    }

    /// Candidates whose improvement counts.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Never terminates.
    pub fn disabled() -> Self {
        Self { head: 0, steps: usize::MAX, steps_without_improvement: 0 }
    }

    /// Counts an expansion and the position at which its node entered the list, if it did; false if the search should
    /// end.
    #[inline]
    pub fn step(&mut self, place: Option<usize>) -> bool {
        let is_news = place.is_some_and(|place| place < self.head);
        self.steps_without_improvement = if is_news { 0 } else { self.steps_without_improvement + 1 };
        self.steps_without_improvement <= self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_without_improvement_terminates() {
        let mut termination = EarlyTermination::new(12, 9);
        assert!(
            [Some(0), None, Some(12), Some(90), None].into_iter().all(|place| termination.step(place)),
            "four are permitted"
        );
        assert!(termination.step(Some(11)), "the twelfth nearest counts");
        assert!((0..4).all(|_| termination.step(None)) && !termination.step(None), "the fifth in a row is too much");
        assert_eq!([1, 10, 11].map(|k| EarlyTermination::new(k, 9).head()), [10, 10, 11]);
        let mut disabled = EarlyTermination::disabled();
        assert!((0..10_000).all(|_| disabled.step(None)));
    }
}
