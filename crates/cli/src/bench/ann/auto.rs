//! Chooses the fastest index kind: measures graph and inverted lists on two samples, one four times the other, and
//! extrapolates throughput to all vectors by a straight line in log-log scale.

use anyhow::ensure;

use super::Args;
use super::case::Case;
use super::data::Data;
use super::measure::{fastest, measure, most_thorough};
use super::settings::IndexKind;
use super::{bar, build};

/// Vectors of the larger sample; smaller data sets are measured whole.
const LARGE_SAMPLE: usize = 40_000;
/// Size ratio of the two samples.
const SAMPLE_RATIO: usize = 4;
/// Recall at which throughput is compared when no target is given.
const DEFAULT_RECALL: f64 = 0.95;

/// Returns the index kind with the higher expected throughput.
pub(super) fn choose_index(data: &Data, args: &Args) -> anyhow::Result<IndexKind> {
    let all = data.base.len();
    ensure!(all > 2_000, "number of vectors must be > 2000 to choose an index (got {all}); use --index");
    let large = all.min(LARGE_SAMPLE);
    let sizes: &[usize] = if all > large { &[large / SAMPLE_RATIO, large] } else { &[large] };
    let mut candidates = Vec::new();
    let bar = bar(2 * sizes.len(), "samples to choose the index by")?;
    for index in [IndexKind::Hnsw, IndexKind::Ivfpq] {
        let mut speeds = Vec::new();
        for size in sizes {
            speeds.push(speed(data, args, index, *size)?);
            bar.inc(1);
        }
        let speed = match speeds[..] {
            [small, large_speed] => {
                let slope = (large_speed / small).ln() / (SAMPLE_RATIO as f64).ln();
                large_speed * (all as f64 / large as f64).powf(slope)
            }
            _ => speeds[0],
        };
        candidates.push((index, speed));
    }
    bar.finish_and_clear();
    let (index, _) = candidates.iter().copied().max_by(|(_, a), (_, b)| a.total_cmp(b)).expect("two were measured");
    if !args.json {
        let texts: Vec<String> = candidates.iter().map(|(index, speed)| format!("{index:?} {speed:.0}")).collect();
        println!("auto: {index:?}, by samples of {sizes:?}; expected queries/s: {}", texts.join(", "));
    }
    Ok(index)
}

/// Throughput in queries/s of the fastest setting that reaches the target recall, else of the one with the highest recall.
fn speed(data: &Data, args: &Args, index: IndexKind, size: usize) -> anyhow::Result<f64> {
    let k = usize::from(args.k);
    let target_recall = args.recall.iter().copied().max_by(f64::total_cmp).unwrap_or(DEFAULT_RECALL);
    let sample = data.sample(size, k)?;
    let subject = build(&sample, 0, index.kind(&[], args.profile.into())?, args)?;
    let case = Case::all(&sample, 0, k)?;
    let mut measured = Vec::new();
    for setting in index.search_settings(k, &subject) {
        let point = measure(&subject, (&sample, &case), &setting, args, |_| true)?;
        measured.push((setting, point));
    }
    let best = fastest(&measured, target_recall).or_else(|| most_thorough(&measured));
    Ok(best.map_or(0.0, |(_, point)| point.qps))
}
