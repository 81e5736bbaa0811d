//! Vectors, queries and true neighbours.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use meridian_ann::{Config, Filter, Index, Kind, Metric, SearchParams};

use crate::vectors::{Rows, open, read_neighbours, read_vectors};

use super::churn::window;
use super::{Args, Distance, bar};

/// Queries taken from the base where no file has them.
const HELD_OUT: usize = 1_000;

/// Vectors of a sample that are asked for, and left out of it.
const SAMPLED_QUERIES: usize = 300;

/// What an index is built of and asked for.
pub(super) struct Data {
    /// The file, without its folder.
    pub name: String,
    pub metric: Metric,
    pub base: Rows<f32>,
    pub queries: Rows<f32>,
    /// By query: the true `k` nearest, nearest first.
    pub truth: Vec<Vec<u32>>,
}

impl Data {
    /// Reads all of it, and finds the truth where no file has it.
    pub fn open(args: &Args) -> anyhow::Result<Self> {
        let (name, mut base) = match &args.base {
            Some(path) => {
                let rows = read_vectors(path, args.n).with_context(|| path.display().to_string())?;
                (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), rows)
            }
            None => {
                let words = open(None, args.n)?;
                ("words".to_owned(), Rows { dim: words.dim, numbers: words.numbers })
            }
        };
        let mut queries = match &args.queries {
            Some(path) => read_vectors(path, usize::MAX).with_context(|| path.display().to_string())?,
            None => {
                let first = args.churn.map_or(0, |turnover| base.len() - window(base.len(), turnover));
                hold_out(&mut base, first)?
            }
        };
        ensure!(!base.is_empty() && !queries.is_empty(), "there must be a vector and a query at least");
        ensure!(
            base.dim == queries.dim,
            "vectors have {} dimensions, queries have {}: they must be equal",
            base.dim,
            queries.dim
        );
        if args.metric == Distance::Cosine {
            [&mut base, &mut queries].into_iter().for_each(normalise);
        }
        let (metric, k) = (Metric::from(args.metric), usize::from(args.k).min(base.len()));
        let mut data = Self { name, metric, base, queries, truth: Vec::new() };
        data.truth = match &args.truth {
            Some(path) => {
                let rows = read_neighbours(path, usize::MAX).with_context(|| path.display().to_string())?;
                ensure!(
                    rows.len() == data.queries.len() && rows.dim >= k,
                    "{}: {} rows of {} neighbours, expected {} rows of at least {k}",
                    path.display(),
                    rows.len(),
                    rows.dim,
                    data.queries.len()
                );
                (0..rows.len()).map(|at| rows.row(at)[..k].to_vec()).collect()
            }
            None => data.true_neighbours(0, k, None)?,
        };
        Ok(data)
    }

    /// About `count` vectors, evenly spread, and some others as queries: what is measured to choose an index.
    pub fn sample(&self, count: usize, k: usize) -> anyhow::Result<Self> {
        let share = |rows: usize| (0..rows).map(move |at| at * self.base.len() / rows);
        let held_out: Vec<usize> = share(SAMPLED_QUERIES).collect();
        let take = |at: Vec<usize>| Rows {
            dim: self.base.dim,
            numbers: at.into_iter().flat_map(|at| self.base.row(at)).copied().collect(),
        };
        let base = take(share(count).filter(|at| held_out.binary_search(at).is_err()).collect());
        let mut data =
            Self { name: self.name.clone(), metric: self.metric, base, queries: take(held_out), truth: Vec::new() };
        data.truth = data.true_neighbours(0, k, None)?;
        Ok(data)
    }

    /// By query: the `k` nearest of the vectors from `first` on that the filter accepts, found by comparing with all of them, on
    /// all processors.
    pub fn true_neighbours(
        &self,
        first: usize,
        k: usize,
        filter: Option<&Filter<'_>>,
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        let config = Config { seed: 1, ..Config::new(self.base.dim, self.metric, Kind::Flat) };
        let mut flat = Index::new(config)?;
        for at in first..self.base.len() {
            flat.upsert(u32::try_from(at)?, self.base.row(at)).with_context(|| format!("vector {at}"))?;
        }
        let bar = bar(self.queries.len(), "queries compared with all vectors")?;
        let next = AtomicUsize::new(0);
        let work = || -> anyhow::Result<Vec<(usize, Vec<u32>)>> {
            let mut found = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= self.queries.len() {
                    return Ok(found);
                }
                let hits = flat.search(self.queries.row(at), k, &SearchParams::default(), filter);
                let hits = hits.with_context(|| format!("query {at}"))?;
                found.push((at, hits.into_iter().map(|hit| hit.slot).collect()));
                bar.inc(1);
            }
        };
        let mut truth = vec![Vec::new(); self.queries.len()];
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                let found = worker.join().map_err(|_| anyhow::anyhow!("a thread that compares has panicked"))??;
                found.into_iter().for_each(|(at, neighbours)| truth[at] = neighbours);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(truth)
    }
}

/// Takes [`HELD_OUT`] rows out of the base, evenly spread over those from `first` on.
fn hold_out(base: &mut Rows<f32>, first: usize) -> anyhow::Result<Rows<f32>> {
    let all = base.len();
    let among = all - first;
    ensure!(
        among > 2 * HELD_OUT,
        "{among} vectors are too few to leave {HELD_OUT} out as queries: name a file of --queries"
    );
    let step = among / HELD_OUT;
    let (mut kept, mut queries) = (Vec::with_capacity(base.numbers.len()), Vec::new());
    for at in 0..all {
        let is_query = at >= first && (at - first).is_multiple_of(step) && (at - first) / step < HELD_OUT;
        if is_query { &mut queries } else { &mut kept }.extend_from_slice(base.row(at));
    }
    base.numbers = kept;
    Ok(Rows { dim: base.dim, numbers: queries })
}

/// As the index wants them for Cosine.
fn normalise(vectors: &mut Rows<f32>) {
    for row in vectors.numbers.chunks_exact_mut(vectors.dim) {
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
}
