//! How much effort reaches which recall.
//!
//! Some of the points are asked for, as if they had never come in: nothing is found by a point itself, nor lost where links go by
//! it, so the queries are like those of users. What a search of each effort finds of their true neighbours makes a curve, and a
//! wanted recall is read off it. It is drawn anew whenever half as many points have come in as there were, and after lists were learnt anew:
//! between two blocks (`queued/draw.rs`), so it follows from the writes alone; after many that came in together, once.

use crate::index::Recall;

/// Neighbours that are asked for.
pub(crate) const ASKED: usize = 10;
/// Points from which on a curve is drawn: before, a scan is about as fast.
const FEWEST: usize = 4_096;

/// What was found with each effort.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Curve {
    /// Points there were.
    pub points: u32,
    /// Points that have come in since.
    pub come: u64,
    /// True neighbours that were to be found.
    pub wanted: u32,
    /// Those that were, by effort, the least first. Empty until there was a curve.
    pub found: Vec<u32>,
}

impl Curve {
    /// Whether it is time to draw another, of so many points. So many have come in since the structure learnt something, if it did.
    pub fn is_due(&self, points: usize, come_since_learnt: Option<u64>) -> bool {
        let is_of_others = self.come.saturating_mul(2) >= u64::from(self.points);
        points >= FEWEST && (is_of_others || come_since_learnt.is_some_and(|come| come < self.come))
    }

    /// Takes in that `right` of `truth` neighbours were found with the effort of this number. Whether all were: then they are taken to be
    /// found with every greater effort, of which there are `efforts`.
    pub fn note(&mut self, effort: usize, efforts: usize, right: usize, truth: usize) -> bool {
        self.found.resize(efforts, 0);
        let all = right == truth;
        let rest = if all { efforts } else { effort + 1 };
        self.found[effort..rest].iter_mut().for_each(|found| *found += right as u32);
        all
    }

    /// The effort that reaches a recall, of these; the greatest where none does, none where there is no curve. Between two efforts
    /// recall grows with the logarithm of the effort.
    pub fn effort(&self, recall: Recall, efforts: &[usize]) -> Option<usize> {
        if self.wanted == 0 {
            return None;
        }
        let recall = recall.share();
        let mut below: Option<(f64, f64)> = None;
        // A smaller effort that happened to find more shows what a greater one can.
        let mut most = 0.0_f64;
        for (effort, found) in efforts.iter().zip(&self.found) {
            most = most.max(f64::from(*found) / f64::from(self.wanted));
            let log = (*effort as f64).ln();
            if most >= recall {
                let Some((before, least)) = below else { return Some(*effort) };
                let share = (recall - least) / (most - least);
                return Some((before + share * (log - before)).exp().round() as usize);
            }
            below = Some((log, most));
        }
        efforts.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_recall_is_read_off_the_curve() {
        let recall = |share| Recall::new(share).expect("between 0 and 1");
        let efforts = [10, 20, 40, 80];
        let curve = Curve { wanted: 100, found: vec![80, 90, 88, 98], ..Curve::default() };
        assert_eq!(curve.effort(recall(0.5), &efforts), Some(10), "the least there is");
        assert_eq!(curve.effort(recall(0.9), &efforts), Some(20));
        assert_eq!(curve.effort(recall(0.85), &efforts), Some(14), "the middle, in logarithms");
        assert_eq!(curve.effort(recall(0.94), &efforts), Some(57));
        assert_eq!(curve.effort(recall(0.99), &efforts), Some(80), "as much as there is");
        assert_eq!(Curve::default().effort(recall(0.9), &efforts), None);
        let mut drawn = Curve { wanted: 8, ..Curve::default() };
        assert!(!drawn.note(0, 3, 2, 4) && !drawn.note(1, 3, 3, 4) && drawn.note(2, 3, 4, 4) && drawn.note(0, 3, 4, 4));
        assert_eq!(drawn.found, [6, 7, 8]);
    }

    #[test]
    fn a_curve_is_due_when_half_as_many_have_come_or_lists_are_newer() {
        let curve = |points, come| Curve { points, come, ..Curve::default() };
        assert!(!curve(0, 4_095).is_due(4_095, Some(0)) && curve(0, 4_096).is_due(4_096, None));
        assert!(!curve(5_000, 2_499).is_due(7_499, None) && curve(5_000, 2_500).is_due(7_500, None));
        assert!(curve(5_000, 2_500).is_due(5_000, None), "as many have left");
        assert!(curve(5_000, 1).is_due(5_001, Some(0)) && !curve(5_000, 1).is_due(5_001, Some(1)));
        assert!(curve(5_000, u64::MAX).is_due(5_000, None));
    }
}
