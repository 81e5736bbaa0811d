//! Which index is the fastest for these vectors: graph and lists are measured on two samples, one four times the other, and what
//! they would do with all vectors is read off the line between the two, both sides in logarithms.

use anyhow::ensure;

use super::Args;
use super::case::Case;
use super::data::Data;
use super::measure::{fastest, measure, most_thorough};
use super::setting::IndexKind;
use super::{bar, build};

/// Vectors of the larger sample. Fewer in all are measured as they are.
const LARGE: usize = 40_000;
/// The larger sample holds so many times the vectors of the smaller.
const RATIO: usize = 4;
/// Recall that speeds are compared at where none is asked for.
const RECALL: f64 = 0.95;

/// The faster one.
pub(super) fn choose(data: &Data, args: &Args) -> anyhow::Result<IndexKind> {
    let all = data.base.len();
    ensure!(all > 2_000, "{all} vectors are too few to choose an index by: name one by --index");
    let large = all.min(LARGE);
    let sizes: &[usize] = if all > large { &[large / RATIO, large] } else { &[large] };
    let mut told = Vec::new();
    let bar = bar(2 * sizes.len(), "samples to choose the index by")?;
    for index in [IndexKind::Hnsw, IndexKind::Ivfpq] {
        let mut speeds = Vec::new();
        for size in sizes {
            speeds.push(speed(data, args, index, *size)?);
            bar.inc(1);
        }
        let speed = match speeds[..] {
            [small, large_speed] => {
                let slope = (large_speed / small).ln() / (RATIO as f64).ln();
                large_speed * (all as f64 / large as f64).powf(slope)
            }
            _ => speeds[0],
        };
        told.push((index, speed));
    }
    bar.finish_and_clear();
    let (index, _) = told.iter().copied().max_by(|(_, a), (_, b)| a.total_cmp(b)).expect("two were measured");
    if !args.json {
        let told: Vec<String> = told.iter().map(|(index, speed)| format!("{index:?} {speed:.0}")).collect();
        println!("auto: {index:?}, by samples of {sizes:?}; queries a second to be expected: {}", told.join(", "));
    }
    Ok(index)
}

/// Queries a second at the recall asked for, by the fastest setting that reaches it; where none does, by the best.
fn speed(data: &Data, args: &Args, index: IndexKind, size: usize) -> anyhow::Result<f64> {
    let k = usize::from(args.k);
    let wanted = args.recall.iter().copied().max_by(f64::total_cmp).unwrap_or(RECALL);
    let sample = data.sample(size, k)?;
    let subject = build(&sample, 0, index.kind(&[], args.profile.into())?, args)?;
    let case = Case::all(&sample, 0, k)?;
    let mut measured = Vec::new();
    for choice in index.choices(k, &subject) {
        let point = measure(&subject, (&sample, &case), &choice, args, |_| true)?;
        measured.push((choice, point));
    }
    let told = fastest(&measured, wanted).or_else(|| most_thorough(&measured));
    Ok(told.map_or(0.0, |(_, point)| point.qps))
}
