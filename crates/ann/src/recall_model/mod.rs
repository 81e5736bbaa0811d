//! How much effort reaches which recall.
//!
//! Some vectors are asked for that the index does not go by, so the queries are like those of users. What a search of each effort
//! finds of their true neighbours makes a curve, and a wanted recall is read off it. Who links its points with each other asks for
//! some that come in, before they do: once a point is linked, others go by it. Who learns from a sample asks for others than
//! these, many at once, whenever it has learnt or half as many points have come in as there were. Both are done between two steps
//! (`queued/draw.rs`), so a curve follows from the writes alone.

pub(crate) mod holdout;
pub(crate) mod probe;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::params::Recall;

/// Neighbours that are asked for.
pub(crate) const RECALL_K: usize = 10;
/// Vectors that are asked for: what they tell of a recall of 0.9 is off by a third of a point, mostly.
pub(crate) const PROBE_COUNT: usize = 2_000;
/// Points from which on a curve is drawn: before, a scan is about as fast.
const MIN_POINTS: usize = 4_096;
/// Part of the points, one in so many, that comes in with one tally.
const SAMPLES_PER_TURNOVER: u64 = 16;
/// Tallies that are kept.
const MAX_SAMPLES: usize = 32;
/// The weight of what was found before falls evenly until as many points have come in as there are, to so much.
const MIN_WEIGHT: f64 = 0.01;
/// Variance of the logarithm of how many points there were, by which it hardly tells how recall goes with it.
const SLOPE_SHRINKAGE: f64 = 0.02;

/// What was found with each effort.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RecallModel {
    /// Points that have come in since.
    inserted_since: u64,
    /// The oldest first. Copies share them.
    samples: Arc<VecDeque<RecallSample>>,
    /// Derived from these: the recall of each effort with so many points as there were last.
    recalls: Arc<[f64]>,
}

/// What searches of some vectors found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecallSample {
    /// Points there were, on average.
    pub points: u32,
    /// Those of them that came in meanwhile.
    pub inserted_since: u64,
    /// True neighbours that were to be found.
    pub wanted: u32,
    /// Those that were, by effort, the least first. Empty until something was asked for.
    pub found: Vec<u32>,
}

impl RecallModel {
    /// A curve after which so many points have come in.
    pub fn new(samples: impl IntoIterator<Item = RecallSample>, inserted_since: u64) -> Self {
        let mut recall_model =
            Self { inserted_since, samples: Arc::new(samples.into_iter().collect()), ..Self::default() };
        recall_model.recalls = recall_model.recalls().into();
        recall_model
    }

    pub fn inserted_since(&self) -> u64 {
        self.inserted_since
    }

    pub fn samples(&self) -> &VecDeque<RecallSample> {
        &self.samples
    }

    /// A point has come in.
    pub fn count_insert(&mut self) {
        self.inserted_since = self.inserted_since.saturating_add(1);
    }

    /// Whether it is time to draw another, of so many points. So many have come in since the structure learnt something, if it did.
    pub fn is_due(&self, points: usize, inserted_since_training: Option<u64>) -> bool {
        let before = self.samples.back().map_or(0, |sample| sample.points);
        let is_of_others = self.inserted_since.saturating_mul(2) >= u64::from(before);
        points >= MIN_POINTS
            && (is_of_others
                || inserted_since_training.is_some_and(|inserted_since| inserted_since < self.inserted_since))
    }

    /// How many are to be asked for of those that come next to so many points: [`PROBE_COUNT`] while half as many come in as there are.
    pub fn pending_probes(&self, points: usize) -> usize {
        if points < MIN_POINTS {
            return 0;
        }
        let half = points as u64 / 2;
        (u128::from(self.inserted_since.min(half)) * PROBE_COUNT as u128 / u128::from(half)) as usize
    }

    /// Takes in what was found of some that come next to so many points.
    pub fn add_sample(&mut self, sample: RecallSample, points: usize) {
        let inserted_since = std::mem::take(&mut self.inserted_since);
        let sample = RecallSample { points: points as u32, inserted_since, ..sample };
        let samples = Arc::make_mut(&mut self.samples);
        let is_one = |last: &RecallSample| {
            last.inserted_since.saturating_add(inserted_since).saturating_mul(SAMPLES_PER_TURNOVER) <= points as u64
        };
        match samples.back_mut().filter(|last| is_one(last)) {
            Some(last) => last.add(&sample),
            None => samples.push_back(sample),
        }
        while samples.len() > MAX_SAMPLES {
            samples.pop_front();
        }
        self.recalls = self.recalls().into();
    }

    /// The recall of each effort with so many points as there were last. The more there are, the less is found of them with one effort, and
    /// while they become more each tally is of fewer: so the line that goes nearest to them, by the logarithm of how many there were, is
    /// followed to how many there are.
    fn recalls(&self) -> Vec<f64> {
        let Some(last) = self.samples.back() else { return Vec::new() };
        let mut since = 0.0;
        let weighed: Vec<(f64, f64, &RecallSample)> = (self.samples.iter().rev())
            .map(|sample| {
                let age = (since + sample.inserted_since as f64 / 2.0) / f64::from(last.points.max(1));
                since += sample.inserted_since as f64;
                let weight = f64::from(sample.wanted) * (1.0 - age).max(MIN_WEIGHT);
                (weight, f64::from(sample.points.max(1)).ln(), sample)
            })
            .filter(|(weight, ..)| *weight > 0.0)
            .collect();
        let all: f64 = weighed.iter().map(|(weight, ..)| weight).sum();
        if all == 0.0 {
            return Vec::new();
        }
        let mean = |of: &dyn Fn(f64, &RecallSample) -> f64| {
            weighed.iter().map(|(weight, log, sample)| weight * of(*log, sample)).sum::<f64>() / all
        };
        let middle = mean(&|log, _| log);
        let spread = mean(&|log, _| (log - middle).powi(2));
        let ahead = f64::from(last.points.max(1)).ln() - middle;
        let efforts = self.samples.iter().map(|sample| sample.found.len()).max().unwrap_or(0);
        let recall = |effort: usize| {
            let share = |sample: &RecallSample| {
                f64::from(sample.found.get(effort).copied().unwrap_or(0)) / f64::from(sample.wanted)
            };
            let slope = mean(&|log, sample| (log - middle) * share(sample)) / (spread + SLOPE_SHRINKAGE);
            (mean(&|_, sample| share(sample)) + slope * ahead).clamp(0.0, 1.0)
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
        for (effort, reachable_nodes) in efforts.iter().zip(self.recalls.iter()) {
            most = most.max(*reachable_nodes);
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

impl RecallSample {
    /// Takes in that `right` of `truth` neighbours were found with the effort of this number. Whether all were: then they are taken to be
    /// found with every greater effort, of which there are `efforts`.
    pub fn record(&mut self, effort: usize, efforts: usize, right: usize, truth: usize) -> bool {
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
        self.inserted_since = self.inserted_since.saturating_add(other.inserted_since);
        self.wanted = self.wanted.saturating_add(other.wanted);
        self.found.resize(self.found.len().max(other.found.len()), 0);
        self.found.iter_mut().zip(&other.found).for_each(|(found, more)| *found = found.saturating_add(*more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(points: u32, inserted_since: u64, wanted: u32, found: &[u32]) -> RecallSample {
        RecallSample { points, inserted_since, wanted, found: found.to_vec() }
    }

    #[test]
    fn an_effort_is_interpolated_from_recalls() {
        let recall = |share| Recall::new(share).expect("between 0 and 1");
        let efforts = [10, 20, 40, 80];
        let recall_model = RecallModel::new([sample(5_000, 5_000, 100, &[80, 90, 88, 98])], 0);
        assert_eq!(recall_model.effort(recall(0.5), &efforts), Some(10), "the least effort");
        assert_eq!(recall_model.effort(recall(0.9), &efforts), Some(20));
        assert_eq!(recall_model.effort(recall(0.85), &efforts), Some(14), "the middle, in logarithms");
        assert_eq!(recall_model.effort(recall(0.94), &efforts), Some(57));
        assert_eq!(recall_model.effort(recall(0.99), &efforts), Some(80), "the greatest effort");
        for nothing in [
            RecallModel::default(),
            RecallModel::new([RecallSample::default()], 0),
            RecallModel::new([sample(9, 0, 0, &[0])], 3),
        ] {
            assert_eq!(nothing.effort(recall(0.9), &efforts), None);
        }
        let mut noted = RecallSample { wanted: 8, ..RecallSample::default() };
        assert!(
            !noted.record(0, 3, 2, 4)
                && !noted.record(1, 3, 3, 4)
                && noted.record(2, 3, 4, 4)
                && noted.record(0, 3, 4, 4)
        );
        assert_eq!(noted.found, [6, 7, 8]);
    }

    #[test]
    fn lists_are_measured_after_growth_by_half_or_training() {
        let recall_model = |points, inserted_since| {
            RecallModel::new([RecallSample { points, ..RecallSample::default() }], inserted_since)
        };
        assert!(!RecallModel::default().is_due(4_095, Some(0)) && RecallModel::default().is_due(4_096, None));
        assert!(!recall_model(5_000, 2_499).is_due(7_499, None) && recall_model(5_000, 2_500).is_due(7_500, None));
        assert!(recall_model(5_000, 2_500).is_due(5_000, None), "as many were deleted");
        assert!(recall_model(5_000, 1).is_due(5_001, Some(0)) && !recall_model(5_000, 1).is_due(5_001, Some(1)));
        assert!(recall_model(5_000, u64::MAX).is_due(5_000, None));
    }

    #[test]
    fn growth_by_half_makes_two_thousand_probes() {
        let mut recall_model = RecallModel::default();
        let mut probed = 0;
        for _ in 0..200 * 256 {
            recall_model.count_insert();
            if recall_model.pending_probes(102_400) >= 32 {
                recall_model.add_sample(sample(0, 0, 320, &[288; 3]), 102_400);
                probed += 32;
            }
        }
        assert_eq!((probed, recall_model.samples().len()), (1_984, 9));
        let all = RecallModel::new([], u64::MAX);
        assert_eq!(
            (all.pending_probes(4_095), all.pending_probes(4_096), all.pending_probes(usize::MAX)),
            (0, 2_000, 2_000)
        );
    }

    /// Ever less is found while points become more, as the logarithm of their number goes; then they leave as fast as others come, and
    /// what comes is harder to find.
    #[test]
    fn a_model_follows_growth_and_replacement() {
        let mut recall_model = RecallModel::default();
        let ask = |recall_model: &mut RecallModel, points: usize, recall: f64| {
            (0..points / 125).for_each(|_| recall_model.count_insert());
            recall_model.add_sample(sample(0, 0, 1_000, &[(1_000.0 * recall) as u32, 1_000]), points);
        };
        let mut points = 5_000;
        while points < 200_000 {
            points += points / 125;
            ask(&mut recall_model, points, 1.5 - 0.05 * (points as f64).ln());
        }
        let (now, then) = (1.5 - 0.05 * (points as f64).ln(), 1.5 - 0.05 * (points as f64 / 2.0).ln());
        assert!(
            (recall_model.recalls[0] - now).abs() < 0.004 && recall_model.recalls[1] == 1.0,
            "{:?}, {now}, {then}",
            recall_model.recalls
        );
        assert!(
            recall_model.samples().len() == MAX_SAMPLES
                && recall_model.samples().iter().all(|sample| sample.inserted_since >= 300)
        );
        (0..63).for_each(|_| ask(&mut recall_model, points, 0.5));
        assert!(
            (0.5..now - 0.1).contains(&recall_model.recalls[0]),
            "half a turnover: {:?}, {now}",
            recall_model.recalls
        );
        (0..80).for_each(|_| ask(&mut recall_model, points, 0.5));
        assert!((0.5..0.51).contains(&recall_model.recalls[0]), "all: {:?}", recall_model.recalls);
    }

    #[test]
    fn counters_saturate() {
        let all = sample(u32::MAX, u64::MAX, u32::MAX, &[u32::MAX; 2]);
        let mut recall_model = RecallModel::new([all.clone(), all.clone()], u64::MAX);
        recall_model.add_sample(all.clone(), usize::MAX);
        recall_model.add_sample(sample(1, 0, 0, &[]), 0);
        assert!(recall_model.recalls.iter().all(|recall| *recall == 1.0), "{recall_model:?}");
        let mut sum = all.clone();
        sum.add(&all);
        assert_eq!(sum, all);
    }
}
