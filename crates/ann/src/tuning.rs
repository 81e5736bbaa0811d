//! How much effort reaches which recall.
//!
//! Some vectors are asked for that the index does not go by, so the queries are like those of users. What a search of each effort
//! finds of their true neighbours makes a curve, and a wanted recall is read off it. Who links its points with each other asks for
//! some that come in, before they do: once a point is linked, others go by it. Who learns from a sample asks for others than
//! these, many at once, whenever it has learnt or half as many points have come in as there were. Both are done between two steps
//! (`queued/draw.rs`), so a curve follows from the writes alone.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::index::Recall;

/// Neighbours that are asked for.
pub(crate) const ASKED: usize = 10;
/// Vectors that are asked for: what they tell of a recall of 0.9 is off by a third of a point, mostly.
pub(crate) const QUERIES: usize = 2_000;
/// Points from which on a curve is drawn: before, a scan is about as fast.
const FEWEST: usize = 4_096;
/// Part of the points, one in so many, that comes in with one tally.
const TALLIES: u64 = 16;
/// Tallies that are kept.
const MOST: usize = 32;
/// The weight of what was found before falls evenly until as many points have come in as there are, to so much.
const LEAST_WEIGHT: f64 = 0.01;
/// Variance of the logarithm of how many points there were, by which it hardly tells how recall goes with it.
const STILL: f64 = 0.02;

/// What was found with each effort.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Curve {
    /// Points that have come in since.
    come: u64,
    /// The oldest first. Copies share them.
    tallies: Arc<VecDeque<Tally>>,
    /// Derived from these: the recall of each effort with so many points as there were last.
    recalls: Arc<[f64]>,
}

/// What searches of some vectors found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Points there were, on average.
    pub points: u32,
    /// Those of them that came in meanwhile.
    pub come: u64,
    /// True neighbours that were to be found.
    pub wanted: u32,
    /// Those that were, by effort, the least first. Empty until something was asked for.
    pub found: Vec<u32>,
}

impl Curve {
    /// A curve after which so many points have come in.
    pub fn new(tallies: impl IntoIterator<Item = Tally>, come: u64) -> Self {
        let mut curve = Self { come, tallies: Arc::new(tallies.into_iter().collect()), ..Self::default() };
        curve.recalls = curve.recalls().into();
        curve
    }

    pub fn come(&self) -> u64 {
        self.come
    }

    pub fn tallies(&self) -> &VecDeque<Tally> {
        &self.tallies
    }

    /// A point has come in.
    pub fn count(&mut self) {
        self.come = self.come.saturating_add(1);
    }

    /// Whether it is time to draw another, of so many points. So many have come in since the structure learnt something, if it did.
    pub fn is_due(&self, points: usize, come_since_learnt: Option<u64>) -> bool {
        let before = self.tallies.back().map_or(0, |tally| tally.points);
        let is_of_others = self.come.saturating_mul(2) >= u64::from(before);
        points >= FEWEST && (is_of_others || come_since_learnt.is_some_and(|come| come < self.come))
    }

    /// How many are to be asked for of those that come next to so many points: [`QUERIES`] while half as many come in as there are.
    pub fn owed(&self, points: usize) -> usize {
        if points < FEWEST {
            return 0;
        }
        let half = points as u64 / 2;
        (u128::from(self.come.min(half)) * QUERIES as u128 / u128::from(half)) as usize
    }

    /// Takes in what was found of some that come next to so many points.
    pub fn take_in(&mut self, tally: Tally, points: usize) {
        let come = std::mem::take(&mut self.come);
        let tally = Tally { points: points as u32, come, ..tally };
        let tallies = Arc::make_mut(&mut self.tallies);
        let is_one = |last: &Tally| last.come.saturating_add(come).saturating_mul(TALLIES) <= points as u64;
        match tallies.back_mut().filter(|last| is_one(last)) {
            Some(last) => last.add(&tally),
            None => tallies.push_back(tally),
        }
        while tallies.len() > MOST {
            tallies.pop_front();
        }
        self.recalls = self.recalls().into();
    }

    /// The recall of each effort with so many points as there were last. The more there are, the less is found of them with one effort, and
    /// while they become more each tally is of fewer: so the line that goes nearest to them, by the logarithm of how many there were, is
    /// followed to how many there are.
    fn recalls(&self) -> Vec<f64> {
        let Some(last) = self.tallies.back() else { return Vec::new() };
        let mut since = 0.0;
        let weighed: Vec<(f64, f64, &Tally)> = (self.tallies.iter().rev())
            .map(|tally| {
                let age = (since + tally.come as f64 / 2.0) / f64::from(last.points.max(1));
                since += tally.come as f64;
                let weight = f64::from(tally.wanted) * (1.0 - age).max(LEAST_WEIGHT);
                (weight, f64::from(tally.points.max(1)).ln(), tally)
            })
            .filter(|(weight, ..)| *weight > 0.0)
            .collect();
        let all: f64 = weighed.iter().map(|(weight, ..)| weight).sum();
        if all == 0.0 {
            return Vec::new();
        }
        let mean = |of: &dyn Fn(f64, &Tally) -> f64| {
            weighed.iter().map(|(weight, log, tally)| weight * of(*log, tally)).sum::<f64>() / all
        };
        let middle = mean(&|log, _| log);
        let spread = mean(&|log, _| (log - middle).powi(2));
        let ahead = f64::from(last.points.max(1)).ln() - middle;
        let efforts = self.tallies.iter().map(|tally| tally.found.len()).max().unwrap_or(0);
        let recall = |effort: usize| {
            let share =
                |tally: &Tally| f64::from(tally.found.get(effort).copied().unwrap_or(0)) / f64::from(tally.wanted);
            let slope = mean(&|log, tally| (log - middle) * share(tally)) / (spread + STILL);
            (mean(&|_, tally| share(tally)) + slope * ahead).clamp(0.0, 1.0)
        };
        (0..efforts).map(recall).collect()
    }

    /// The effort that reaches a recall, of these; the greatest where none does, none where nothing was asked for. Between two efforts
    /// recall grows with the logarithm of the effort.
    pub fn effort(&self, recall: Recall, efforts: &[usize]) -> Option<usize> {
        if self.recalls.is_empty() {
            return None;
        }
        let recall = recall.share();
        let mut below: Option<(f64, f64)> = None;
        // A smaller effort that happened to find more shows what a greater one can.
        let mut most = 0.0_f64;
        for (effort, reached) in efforts.iter().zip(self.recalls.iter()) {
            most = most.max(*reached);
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

impl Tally {
    /// Takes in that `right` of `truth` neighbours were found with the effort of this number. Whether all were: then they are taken to be
    /// found with every greater effort, of which there are `efforts`.
    pub fn note(&mut self, effort: usize, efforts: usize, right: usize, truth: usize) -> bool {
        self.found.resize(efforts, 0);
        let all = right == truth;
        let rest = if all { efforts } else { effort + 1 };
        self.found[effort..rest].iter_mut().for_each(|found| *found += right as u32);
        all
    }

    /// Takes in what was found of others.
    pub fn add(&mut self, other: &Self) {
        let (here, there) = (u128::from(self.wanted), u128::from(other.wanted));
        let points = u128::from(self.points) * here + u128::from(other.points) * there;
        self.points = points.checked_div(here + there).map_or(other.points, |points| points as u32);
        self.come = self.come.saturating_add(other.come);
        self.wanted = self.wanted.saturating_add(other.wanted);
        self.found.resize(self.found.len().max(other.found.len()), 0);
        self.found.iter_mut().zip(&other.found).for_each(|(found, more)| *found = found.saturating_add(*more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(points: u32, come: u64, wanted: u32, found: &[u32]) -> Tally {
        Tally { points, come, wanted, found: found.to_vec() }
    }

    #[test]
    fn a_wanted_recall_is_read_off_what_was_found() {
        let recall = |share| Recall::new(share).expect("between 0 and 1");
        let efforts = [10, 20, 40, 80];
        let curve = Curve::new([tally(5_000, 5_000, 100, &[80, 90, 88, 98])], 0);
        assert_eq!(curve.effort(recall(0.5), &efforts), Some(10), "the least there is");
        assert_eq!(curve.effort(recall(0.9), &efforts), Some(20));
        assert_eq!(curve.effort(recall(0.85), &efforts), Some(14), "the middle, in logarithms");
        assert_eq!(curve.effort(recall(0.94), &efforts), Some(57));
        assert_eq!(curve.effort(recall(0.99), &efforts), Some(80), "as much as there is");
        for nothing in [Curve::default(), Curve::new([Tally::default()], 0), Curve::new([tally(9, 0, 0, &[0])], 3)] {
            assert_eq!(nothing.effort(recall(0.9), &efforts), None);
        }
        let mut noted = Tally { wanted: 8, ..Tally::default() };
        assert!(!noted.note(0, 3, 2, 4) && !noted.note(1, 3, 3, 4) && noted.note(2, 3, 4, 4) && noted.note(0, 3, 4, 4));
        assert_eq!(noted.found, [6, 7, 8]);
    }

    #[test]
    fn a_curve_is_due_when_half_as_many_have_come_or_lists_are_newer() {
        let curve = |points, come| Curve::new([Tally { points, ..Tally::default() }], come);
        assert!(!Curve::default().is_due(4_095, Some(0)) && Curve::default().is_due(4_096, None));
        assert!(!curve(5_000, 2_499).is_due(7_499, None) && curve(5_000, 2_500).is_due(7_500, None));
        assert!(curve(5_000, 2_500).is_due(5_000, None), "as many have left");
        assert!(curve(5_000, 1).is_due(5_001, Some(0)) && !curve(5_000, 1).is_due(5_001, Some(1)));
        assert!(curve(5_000, u64::MAX).is_due(5_000, None));
    }

    #[test]
    fn two_thousand_are_asked_for_while_half_as_many_come_in_as_there_are() {
        let mut curve = Curve::default();
        let mut asked = 0;
        for _ in 0..200 * 256 {
            curve.count();
            if curve.owed(102_400) >= 32 {
                curve.take_in(tally(0, 0, 320, &[288; 3]), 102_400);
                asked += 32;
            }
        }
        assert_eq!((asked, curve.tallies().len()), (1_984, 9));
        let all = Curve::new([], u64::MAX);
        assert_eq!((all.owed(4_095), all.owed(4_096), all.owed(usize::MAX)), (0, 2_000, 2_000));
    }

    /// Ever less is found while points become more, as the logarithm of their number goes; then they leave as fast as others come, and
    /// what comes is harder to find.
    #[test]
    fn a_curve_follows_what_is_found_of_ever_more_points_and_of_others() {
        let mut curve = Curve::default();
        let ask = |curve: &mut Curve, points: usize, recall: f64| {
            (0..points / 125).for_each(|_| curve.count());
            curve.take_in(tally(0, 0, 1_000, &[(1_000.0 * recall) as u32, 1_000]), points);
        };
        let mut points = 5_000;
        while points < 200_000 {
            points += points / 125;
            ask(&mut curve, points, 1.5 - 0.05 * (points as f64).ln());
        }
        let (now, then) = (1.5 - 0.05 * (points as f64).ln(), 1.5 - 0.05 * (points as f64 / 2.0).ln());
        assert!(
            (curve.recalls[0] - now).abs() < 0.004 && curve.recalls[1] == 1.0,
            "{:?}, {now}, {then}",
            curve.recalls
        );
        assert!(curve.tallies().len() == MOST && curve.tallies().iter().all(|tally| tally.come >= 300));
        (0..63).for_each(|_| ask(&mut curve, points, 0.5));
        assert!((0.5..now - 0.1).contains(&curve.recalls[0]), "half a turnover: {:?}, {now}", curve.recalls);
        (0..80).for_each(|_| ask(&mut curve, points, 0.5));
        assert!((0.5..0.51).contains(&curve.recalls[0]), "all: {:?}", curve.recalls);
    }

    #[test]
    fn numbers_end_where_they_end() {
        let all = tally(u32::MAX, u64::MAX, u32::MAX, &[u32::MAX; 2]);
        let mut curve = Curve::new([all.clone(), all.clone()], u64::MAX);
        curve.take_in(all.clone(), usize::MAX);
        curve.take_in(tally(1, 0, 0, &[]), 0);
        assert!(curve.recalls.iter().all(|recall| *recall == 1.0), "{curve:?}");
        let mut sum = all.clone();
        sum.add(&all);
        assert_eq!(sum, all);
    }
}
