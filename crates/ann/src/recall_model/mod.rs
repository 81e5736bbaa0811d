//! Recall model: the effort (`ef`, `nprobe`) that reaches a requested recall.
//!
//! The index searches for vectors that it does not contain and compares the results with their true neighbors
//! ([`probe`]). The recalls measured per effort, interpolated, give the effort for a requested recall. A graph probes
//! vectors before it inserts them, because later inserts use their links. Lists probe a hold-out set that training
//! excludes, after training, or when half as many points were inserted as there were. Both run between merge steps, so
//! the model is a function of the writes alone. Formula, data and limits: `docs/design/recall-model.md`.

pub(crate) mod holdout;
pub(crate) mod probe;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::params::Recall;

/// Neighbors per probe.
pub(crate) const RECALL_K: usize = 10;
/// Probes per growth by one half. With 2,000, the estimate of a recall of 0.9 is mostly off by less than 0.003.
pub(crate) const PROBE_COUNT: usize = 2_000;
/// Points from which on recall is measured; below, a scan is about as fast.
const MIN_POINTS: usize = 4_096;
/// Samples are combined until one covers the insert of 1 point in so many.
const SAMPLES_PER_TURNOVER: u64 = 16;
/// Samples that are kept.
const MAX_SAMPLES: usize = 32;
/// The weight of a sample decreases linearly while as many points are inserted as there are, to this share.
const MIN_WEIGHT: f64 = 0.01;
/// Variance of `ln n` below which the samples hardly tell a slope; it shrinks the slope towards zero.
const SLOPE_SHRINKAGE: f64 = 0.02;

/// Samples of recall at every effort, and the recalls predicted from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RecallModel {
    /// Points inserted since the last sample.
    inserted_since: u64,
    /// Oldest first. Copies share them.
    samples: Arc<VecDeque<RecallSample>>,
    /// Derived from the samples: recall of each effort at the newest number of points.
    recalls: Arc<[f64]>,
}

/// Result of some probes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecallSample {
    /// Number of points, averaged over the probes.
    pub points: u32,
    /// Points inserted since the previous sample.
    pub inserted_since: u64,
    /// True neighbors of all probes.
    pub wanted: u32,
    /// Those that were found, per effort, ascending. Empty before the first probe.
    pub found: Vec<u32>,
}

impl RecallModel {
    /// A model from its samples and the number of points inserted since.
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

    /// Counts an insert.
    pub fn count_insert(&mut self) {
        self.inserted_since = self.inserted_since.saturating_add(1);
    }

    /// Whether lists of `points` points must be measured: half as many were inserted as there were, or training is
    /// newer than the measurement.
    pub fn is_due(&self, points: usize, inserted_since_training: Option<u64>) -> bool {
        let before = self.samples.back().map_or(0, |sample| sample.points);
        let is_of_others = self.inserted_since.saturating_mul(2) >= u64::from(before);
        points >= MIN_POINTS
            && (is_of_others
                || inserted_since_training.is_some_and(|inserted_since| inserted_since < self.inserted_since))
    }

    /// Probes to run on the next inserts at `points` points: [`PROBE_COUNT`] for each growth by one half.
    pub fn pending_probes(&self, points: usize) -> usize {
        if points < MIN_POINTS {
            return 0;
        }
        let half = points as u64 / 2;
        (u128::from(self.inserted_since.min(half)) * PROBE_COUNT as u128 / u128::from(half)) as usize
    }

    /// Adds the result of probes at `points` points.
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

    /// Recall of each effort at the newest number of points, `n`. Recall falls as points are added, and older samples
    /// are of fewer points. A weighted linear regression over `x = ln n` extrapolates to the newest sample:
    ///
    /// ```text
    ///   age_i  = (inserted_i / 2 + sum of inserted_j over newer samples j) / n
    ///   W_i    = wanted_i * max(1 - age_i, 0.01)
    ///   slope  = cov_W(x, r) / (var_W(x) + 0.02)
    ///   recall = clamp(mean_W(r) + slope * (ln n - mean_W(x)), 0, 1)
    /// ```
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

    /// Effort of the grid that reaches a recall, interpolated: between two efforts, recall is linear in the logarithm
    /// of the effort. The greatest effort if none reaches it; none without samples.
    pub fn effort(&self, recall: Recall, efforts: &[usize]) -> Option<usize> {
        if self.recalls.is_empty() {
            return None;
        }
        let recall = recall.share();
        let mut below: Option<(f64, f64)> = None;
        // Running maximum: a greater effort finds at least what a smaller one finds, up to sampling errors.
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
    /// Records that effort number `effort` of `efforts` found `right` of `truth` neighbors. Returns whether it found
    /// all; then all greater efforts count as having found all too.
    pub fn record(&mut self, effort: usize, efforts: usize, right: usize, truth: usize) -> bool {
        self.found.resize(efforts, 0);
        let all = right == truth;
        let rest = if all { efforts } else { effort + 1 };
        self.found[effort..rest].iter_mut().for_each(|found| *found += right as u32);
        all
    }

    /// Adds another sample to this one.
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

    /// Recall falls with the logarithm of the number of points while these grow. Then points are replaced at the same
    /// rate, by points that are harder to find.
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
