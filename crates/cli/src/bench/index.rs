//! `meridian bench index`: one index, one thread, vectors from a file. The last of them are held out as queries.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use meridian_ann::{Config, Index, Kind, Metric, SearchParams};

use crate::vectors::{Vectors, open};

/// Neighbours asked for.
const NEIGHBOURS: usize = 10;
/// The queries are asked again until this much time is over, so that a fast index is timed as exactly as a slow one.
const TIMED: Duration = Duration::from_secs(1);
/// Steps of the graph between two looks at the progress bar.
const STEPS: usize = 256;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many vectors to read, queries included.
    #[arg(long, default_value_t = 21_000)]
    n: u32,
    /// How many of them are queries.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// A NumPy file of 32-bit floats in rows, in place of the words.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Links a node.
    #[arg(long, default_value_t = 16)]
    m: usize,
    /// Beam width while building.
    #[arg(long, default_value_t = 100)]
    ef_construct: usize,
    /// Beam widths to search with.
    #[arg(long, value_delimiter = ',', default_value = "10,20,40,80,160,320")]
    ef: Vec<usize>,
}

/// Builds, searches, and prints a line for each beam width.
///
/// # Errors
/// When the data cannot be read or the parameters are out of range.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut vectors = open(args.data.as_deref(), args.n as usize)?;
    normalise(&mut vectors);
    let held = vectors.len().checked_sub(args.queries as usize).filter(|held| *held > 0);
    let held = held.with_context(|| format!("{} vectors do not leave any behind the queries", vectors.len()))?;
    let queries: Vec<&[f32]> = (held..vectors.len()).map(|row| vectors.row(row)).collect();
    let config = |kind| Config { dim: vectors.dim, metric: Metric::Cosine, kind, seed: 1 };

    let begun = Instant::now();
    let hnsw = fill(config(Kind::Hnsw { m: args.m, ef_construct: args.ef_construct }), &vectors, held)?;
    let built = begun.elapsed();
    let flat = fill(config(Kind::Flat), &vectors, held)?;
    let truth: Vec<BTreeSet<u32>> = queries
        .iter()
        .map(|query| neighbours(&flat, query, None))
        .collect::<anyhow::Result<_>>()
        .context("true neighbours")?;
    println!(
        "index: ours n={held} dim={} m={} ef_construct={} build_s={:.2}",
        vectors.dim,
        args.m,
        args.ef_construct,
        built.as_secs_f64()
    );
    for ef in &args.ef {
        let mut found = 0;
        for (query, truth) in queries.iter().zip(&truth) {
            found += neighbours(&hnsw, query, Some(*ef))?.intersection(truth).count();
        }
        let params = SearchParams { ef: Some(*ef), ..SearchParams::default() };
        let (begun, mut asked) = (Instant::now(), 0_u32);
        while begun.elapsed() < TIMED {
            for query in &queries {
                std::hint::black_box(hnsw.search(query, NEIGHBOURS, &params, None)?);
                asked += 1;
            }
        }
        let qps = f64::from(asked) / begun.elapsed().as_secs_f64();
        println!("index: ours ef={ef} recall={:.4} qps={qps:.0}", found as f64 / (queries.len() * NEIGHBOURS) as f64);
    }
    Ok(())
}

fn fill(config: Config, vectors: &Vectors, held: usize) -> anyhow::Result<Index> {
    let mut index = Index::new(config)?;
    let style = ProgressStyle::with_template("   {bar:48} {human_pos} of {human_len} vectors, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(held as u64).with_style(style);
    for row in 0..held {
        index.upsert(u32::try_from(row).context("more vectors than slots")?, vectors.row(row))?;
        if row % STEPS == 0 {
            index.merge(STEPS);
            bar.set_position(row as u64);
        }
    }
    while index.can_merge() {
        index.merge(STEPS);
    }
    bar.finish_and_clear();
    Ok(index)
}

/// With beam width `ef`, or exactly.
fn neighbours(index: &Index, query: &[f32], ef: Option<usize>) -> anyhow::Result<BTreeSet<u32>> {
    let params = SearchParams { ef, exact: ef.is_none(), ..SearchParams::default() };
    Ok(index.search(query, NEIGHBOURS, &params, None)?.into_iter().map(|hit| hit.slot).collect())
}

/// As the index wants them for Cosine.
fn normalise(vectors: &mut Vectors) {
    for row in vectors.numbers.chunks_exact_mut(vectors.dim) {
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
}
