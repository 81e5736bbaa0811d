//! Quality of an index while its vectors are replaced: a window slides over the data, one out, one in.

use std::time::Instant;

use anyhow::{Context, ensure};
use meridian_ann::{Index, Kind};

use super::case::Case;
use super::concurrent_search::{ConcurrentSearch, format_quantiles};
use super::data::Data;
use super::measure::{Built, resident};
use super::settings::IndexKind;
use super::{Args, Report, bar, build, config};

/// Limit of the turnover.
const MAX_TURNOVER: f64 = 10.0;

/// Merge steps per replaced vector, as in the node: two for the delete and two for the upsert.
const MERGE_STEPS_PER_WRITE: usize = 4;

/// Pending operations above which merging has priority over writing, as in the node.
const MAX_PENDING: usize = 1_024;

/// Parses a number in (0, 10].
pub(super) fn turnover(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= MAX_TURNOVER);
    share.ok_or_else(|| format!("must be a number in (0, {MAX_TURNOVER}], such as 1.0"))
}

/// Size of the window over `all` vectors so that `turnover` of it is replaced at the end.
pub(super) fn window(all: usize, turnover: f64) -> usize {
    (all as f64 / (1.0 + turnover)) as usize
}

/// Measures a churned index, and an index of the same vectors that was built at once.
pub(super) fn run(args: &Args, data: &Data, name: IndexKind, kind: Kind, turnover: f64) -> anyhow::Result<()> {
    let all = data.base.len();
    let window = window(all, turnover);
    ensure!(window > 0, "the window must contain a vector; {all} vectors are too few");
    let first = all - window;
    let case = Case::all(data, first, usize::from(args.k))?;

    let (before, start) = (resident(), Instant::now());
    let (index, writes, search_times) = churn_index(args, data, kind, window)?;
    let mut built = Built::new(&index, name, start, before);
    built.state = "churned";
    Report { args, data, index: &index, built: &built }.header();
    if !args.json {
        let unreachable = index.len() - index.reachable();
        println!("{first} vectors replaced, {writes:.0} per second; {unreachable} are unreachable in the graph");
        search_times.iter().for_each(|search_times| println!("{search_times}"));
    }
    Report { args, data, index: &index, built: &built }.points(&case)?;
    drop(index);

    let (before, start) = (resident(), Instant::now());
    let index = build(data, first, kind, args)?;
    let built = Built::new(&index, name, start, before);
    let report = Report { args, data, index: &index, built: &built };
    report.header();
    report.points(&case)
}

/// Builds the index of the first window and slides it to the last. Returns the index, vectors replaced per second, and the
/// search latencies meanwhile, if requested.
fn churn_index(args: &Args, data: &Data, kind: Kind, window: usize) -> anyhow::Result<(Index, f64, Option<String>)> {
    let mut index = Index::new_in(config(data, kind, args), args.storage().open()?)?;
    let slot = |at: usize| u32::try_from(at).context("more vectors than slots");
    slot(data.base.len())?;
    let bar = bar(data.base.len(), "vectors")?;
    let points = (0..window).map(|at| (at as u32, data.base.row(at)));
    let filled = index.extend(points, usize::from(args.threads), |done| bar.set_position(done as u64));
    filled.map_err(|(at, error)| anyhow::Error::new(error).context(format!("vector {at}")))?;
    let searches = args.concurrent_search.then(|| ConcurrentSearch::new(data, usize::from(args.k), &mut index));
    let start = Instant::now();
    let mut replace = |at: usize| {
        index.delete(slot(at - window)?);
        index.upsert(slot(at)?, data.base.row(at)).with_context(|| format!("vector {at}"))?;
        index.merge(MERGE_STEPS_PER_WRITE);
        while index.pending() > MAX_PENDING {
            index.merge(MERGE_STEPS_PER_WRITE);
        }
        searches.iter().for_each(|searches| searches.publish_view(&mut index));
        bar.inc(1);
        anyhow::Ok(())
    };
    let times = std::thread::scope(|scope| {
        let search_thread = searches.as_ref().map(|searches| scope.spawn(|| searches.run()));
        let replaced = (window..data.base.len()).try_for_each(&mut replace);
        searches.iter().for_each(ConcurrentSearch::stop);
        let times = search_thread.map(|search_thread| search_thread.join().expect("searches do not panic"));
        replaced.map(|()| times)
    })?;
    index.merge_all(1, |_| ());
    let elapsed = start.elapsed();
    bar.finish_and_clear();
    let describe = |(times, searches): (_, ConcurrentSearch<'_>)| {
        searches.publish_view(&mut index);
        format!(
            "searches during writes: {}; without writes: {}",
            format_quantiles(times),
            format_quantiles(searches.run_baseline())
        )
    };
    let search_times = times.zip(searches).map(describe);
    let replaced = data.base.len() - window;
    Ok((index, replaced as f64 / elapsed.as_secs_f64(), search_times))
}
