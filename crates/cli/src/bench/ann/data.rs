//! Vectors, queries and true neighbors.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use meridian_ann::{Config, Filter, Index, Kind, Metric, SearchParams};

use crate::vectors::{Rows, open_vectors, read_neighbors, read_vectors};

use super::churn::window;
use super::{Args, Distance, bar};

/// Queries held out of the base when no query file is given.
const HELD_OUT_QUERIES: usize = 1_000;

/// Queries held out of a sample.
const SAMPLED_QUERIES: usize = 300;

/// A data set.
pub(super) struct Data {
    /// File name without the folder.
    pub name: String,
    pub metric: Metric,
    pub base: Rows<f32>,
    pub queries: Rows<f32>,
    /// By query: the true `k` nearest neighbors, nearest first.
    pub truth: Vec<Vec<u32>>,
}

impl Data {
    /// Reads the files, and computes the true neighbors when no file has them.
    pub fn open(args: &Args) -> anyhow::Result<Self> {
        let (name, mut base) = match &args.base {
            Some(path) => {
                let rows = read_vectors(path, args.n).with_context(|| path.display().to_string())?;
                (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), rows)
            }
            None => {
                let words = open_vectors(None, args.n)?;
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
        ensure!(!base.is_empty() && !queries.is_empty(), "at least one vector and one query are required");
        ensure!(
            base.dim == queries.dim,
            "dimension of queries must equal that of the vectors, {} (got {})",
            base.dim,
            queries.dim
        );
        if args.metric == Distance::Cosine {
            [&mut base, &mut queries].into_iter().for_each(normalize);
        }
        let (metric, k) = (Metric::from(args.metric), usize::from(args.k).min(base.len()));
        let mut data = Self { name, metric, base, queries, truth: Vec::new() };
        data.truth = match &args.truth {
            Some(path) => {
                let rows = read_neighbors(path, usize::MAX).with_context(|| path.display().to_string())?;
                ensure!(
                    rows.len() == data.queries.len() && rows.dim >= k,
                    "{}: {} rows of {} neighbors, expected {} rows of at least {k}",
                    path.display(),
                    rows.len(),
                    rows.dim,
                    data.queries.len()
                );
                (0..rows.len()).map(|at| rows.row(at)[..k].to_vec()).collect()
            }
            None => data.true_neighbors(0, k, None)?,
        };
        Ok(data)
    }

    /// A sample of about `count` evenly spread vectors, with held-out queries, to choose an index kind.
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
        data.truth = data.true_neighbors(0, k, None)?;
        Ok(data)
    }

    /// By query: the exact `k` nearest neighbors among the vectors from `first` on that match the filter, nearest
    /// first. Uses all processors.
    pub fn true_neighbors(&self, first: usize, k: usize, filter: Option<&Filter<'_>>) -> anyhow::Result<Vec<Vec<u32>>> {
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
                let found = worker.join().map_err(|_| anyhow::anyhow!("a worker thread panicked"))??;
                found.into_iter().for_each(|(at, neighbors)| truth[at] = neighbors);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(truth)
    }
}

/// Moves [`HELD_OUT_QUERIES`] rows, evenly spread over those from `first` on, out of the base.
fn hold_out(base: &mut Rows<f32>, first: usize) -> anyhow::Result<Rows<f32>> {
    let all = base.len();
    let candidates = all - first;
    ensure!(
        candidates > 2 * HELD_OUT_QUERIES,
        "more than {} vectors are needed to hold out {HELD_OUT_QUERIES} queries (got {candidates}); use --queries",
        2 * HELD_OUT_QUERIES
    );
    let step = candidates / HELD_OUT_QUERIES;
    let (mut kept, mut queries) = (Vec::with_capacity(base.numbers.len()), Vec::new());
    for at in 0..all {
        let is_query = at >= first && (at - first).is_multiple_of(step) && (at - first) / step < HELD_OUT_QUERIES;
        if is_query { &mut queries } else { &mut kept }.extend_from_slice(base.row(at));
    }
    base.numbers = kept;
    Ok(Rows { dim: base.dim, numbers: queries })
}

/// Normalizes rows to length 1, which the index requires for Cosine.
fn normalize(vectors: &mut Rows<f32>) {
    for row in vectors.numbers.chunks_exact_mut(vectors.dim) {
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
}
