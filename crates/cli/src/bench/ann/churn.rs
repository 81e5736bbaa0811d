//! Whether an index stays good while its vectors are replaced: a window slides over the data, one out, one in.

use std::time::Instant;

use anyhow::{Context, ensure};
use meridian_ann::{Index, Kind};

use super::beside::{Searches, told};
use super::case::Case;
use super::data::Data;
use super::measure::{Built, resident};
use super::setting::IndexKind;
use super::{Args, Report, bar, build, config};

/// Largest turnover that can be asked for.
const MOST: f64 = 10.0;

/// Steps of a merge that a replaced vector pays for, as the node does: two each for the one that goes and the one that comes.
const STEPS: usize = 4;

/// Operations that wait, from which on merging goes before writing, as in the node.
const MANY: usize = 1_024;

/// A number above 0, at most 10.
pub(super) fn turnover(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= MOST);
    share.ok_or_else(|| format!("expected a number above 0, at most {MOST}, such as 1.0"))
}

/// How many of so many vectors an index holds at a time, if that share of it shall have come anew at the end.
pub(super) fn window(all: usize, turnover: f64) -> usize {
    (all as f64 / (1.0 + turnover)) as usize
}

/// Replaces, measures, and measures an index of the same vectors that was built at once.
pub(super) fn run(args: &Args, data: &Data, name: IndexKind, kind: Kind, turnover: f64) -> anyhow::Result<()> {
    let all = data.base.len();
    let window = window(all, turnover);
    ensure!(window > 0, "{all} vectors are too few");
    let first = all - window;
    let case = Case::all(data, first, usize::from(args.k))?;

    let (before, begun) = (resident(), Instant::now());
    let (index, writes, beside) = churned(args, data, kind, window)?;
    let mut built = Built::new(&index, name, begun, before);
    built.state = "churned";
    Report { args, data, index: &index, built: &built }.head();
    if !args.json {
        let unreachable = index.len() - index.reachable();
        println!("{first} vectors replaced, {writes:.0} a second; {unreachable} cannot be reached");
        beside.iter().for_each(|beside| println!("{beside}"));
    }
    Report { args, data, index: &index, built: &built }.points(&case)?;
    drop(index);

    let (before, begun) = (resident(), Instant::now());
    let index = build(data, first, kind, args)?;
    let built = Built::new(&index, name, begun, before);
    let report = Report { args, data, index: &index, built: &built };
    report.head();
    report.points(&case)
}

/// The index of the first window, and then of every later one in turn; how many vectors it replaced a second, and how long searches
/// beside it took, if there were any.
fn churned(args: &Args, data: &Data, kind: Kind, window: usize) -> anyhow::Result<(Index, f64, Option<String>)> {
    let mut index = Index::new_in(config(data, kind, args), args.storage().open()?)?;
    let slot = |at: usize| u32::try_from(at).context("more vectors than slots");
    slot(data.base.len())?;
    let bar = bar(data.base.len(), "vectors")?;
    let points = (0..window).map(|at| (at as u32, data.base.row(at)));
    let filled = index.extend(points, usize::from(args.threads), |done| bar.set_position(done as u64));
    filled.map_err(|(at, error)| anyhow::Error::new(error).context(format!("vector {at}")))?;
    let searches = args.beside.then(|| Searches::new(data, usize::from(args.k), &mut index));
    let begun = Instant::now();
    let mut replace = |at: usize| {
        index.delete(slot(at - window)?);
        index.upsert(slot(at)?, data.base.row(at)).with_context(|| format!("vector {at}"))?;
        index.merge(STEPS);
        while index.pending() > MANY {
            index.merge(STEPS);
        }
        searches.iter().for_each(|searches| searches.see(&mut index));
        bar.inc(1);
        anyhow::Ok(())
    };
    let times = std::thread::scope(|scope| {
        let searching = searches.as_ref().map(|searches| scope.spawn(|| searches.run()));
        let replaced = (window..data.base.len()).try_for_each(&mut replace);
        searches.iter().for_each(Searches::end);
        let times = searching.map(|searching| searching.join().expect("searches do not panic"));
        replaced.map(|()| times)
    })?;
    index.merge_all(1, |_| ());
    let took = begun.elapsed();
    bar.finish_and_clear();
    let told = |(times, searches): (_, Searches<'_>)| {
        searches.see(&mut index);
        format!("searches beside it: {}; with nothing beside: {}", told(times), told(searches.run_alone()))
    };
    let beside = times.zip(searches).map(told);
    let replaced = data.base.len() - window;
    Ok((index, replaced as f64 / took.as_secs_f64(), beside))
}
