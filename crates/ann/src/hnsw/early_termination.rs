//! When a walk is over before its beam is used up.

/// When a walk that finds nothing nearer any more is over: much of its beam may be left then (Teofili and Lin, ECIR 2025, "Patience
/// in Proximity").
pub(super) struct EarlyTermination {
    /// Of those nearest, so many count.
    head: usize,
    steps: usize,
    /// Steps since the last that followed one of them.
    steps_without_improvement: usize,
}

/// Share of a beam, one place in so many, that may be followed without finding anything.
const BEAM_SHARE: usize = 2;
/// Of those found, so many count at least: that one nearest is not surpassed for long says little.
const MIN_HEAD: usize = 10;

impl EarlyTermination {
    /// For `k` neighbours and a beam of `places`.
    pub fn new(k: usize, places: usize) -> Self {
        Self { head: k.max(MIN_HEAD), steps: places / BEAM_SHARE, steps_without_improvement: 0 }
    }

    /// Places by which it judges.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Never over.
    pub fn disabled() -> Self {
        Self { head: 0, steps: usize::MAX, steps_without_improvement: 0 }
    }

    /// Counts a step, and where among what was found it put what it followed, if there; false if it was one too many.
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
