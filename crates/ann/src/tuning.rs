//! How much effort reaches which recall.
//!
//! Some of the points are asked for, as if they had never come in: nothing is found by a point itself, nor lost where links go by
//! it, so the queries are like those of users. What a search of each effort finds of their true neighbours makes a curve, and a
//! wanted recall is read off it. It is drawn anew whenever there are half as many points more and after lists were learnt anew:
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
    /// True neighbours that were to be found.
    pub wanted: u32,
    /// Those that were, by effort, the least first. Empty until there was a curve.
    pub found: Vec<u32>,
}

impl Curve {
    /// Whether it is time to draw another, of so many points and a structure that was learnt from so many.
    pub fn is_due(&self, points: usize, learnt_from: usize) -> bool {
        points >= FEWEST && (2 * points >= 3 * self.points as usize || learnt_from > self.points as usize)
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
        let curve = Curve { points: 5_000, wanted: 100, found: vec![80, 90, 88, 98] };
        assert_eq!(curve.effort(recall(0.5), &efforts), Some(10), "the least there is");
        assert_eq!(curve.effort(recall(0.9), &efforts), Some(20));
        assert_eq!(curve.effort(recall(0.85), &efforts), Some(14), "the middle, in logarithms");
        assert_eq!(curve.effort(recall(0.94), &efforts), Some(57));
        assert_eq!(curve.effort(recall(0.99), &efforts), Some(80), "as much as there is");
        assert_eq!(Curve::default().effort(recall(0.9), &efforts), None);
        assert!(!Curve::default().is_due(4_095, 2_048) && Curve::default().is_due(4_096, 0));
        let mut drawn = Curve { wanted: 8, ..Curve::default() };
        assert!(!drawn.note(0, 3, 2, 4) && !drawn.note(1, 3, 3, 4) && drawn.note(2, 3, 4, 4) && drawn.note(0, 3, 4, 4));
        assert_eq!(drawn.found, [6, 7, 8]);
        assert!(!curve.is_due(7_499, 5_000) && curve.is_due(7_500, 0) && curve.is_due(5_001, 5_001));
    }
}
