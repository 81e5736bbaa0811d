//! `meridian bench ann`: which recall an index reaches at which speed, on anyone's vectors.
//!
//! `data` reads vectors, queries and true neighbours; `setting` says which parameters there are; `measure` asks and times.
//! With `--recall` the setting is chosen on half of the queries and told of the other half, so that it answers what is to be
//! expected of queries that were not there when it was chosen.

mod data;
mod measure;
mod setting;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use meridian_ann::{Config, Index, Kind, Metric, Stats};

use data::Data;
use measure::{Measured, measure};
use setting::Choice;

/// Steps of a merge between two looks at the progress bar.
const STEPS: usize = 256;

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Distance {
    /// Angle; vectors are brought to length 1.
    Cosine,
    /// Inner product.
    Dot,
    /// Euclidean.
    L2,
    /// Sum of absolute differences.
    L1,
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Vectors: .npy (32-bit floats), .fvecs or .fbin. Default: the words that `make demo` fetches.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Queries, in the same formats. Default: 1,000 vectors of the base, evenly spread, which are left out of it.
    #[arg(long)]
    queries: Option<PathBuf>,
    /// Their true neighbours, nearest first: .ivecs or .ibin. Default: found by comparing with every vector.
    #[arg(long, requires = "queries")]
    truth: Option<PathBuf>,
    /// Read so many vectors of the base.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    n: usize,
    /// How vectors are compared.
    #[arg(long, value_enum, default_value = "cosine")]
    metric: Distance,
    /// Which index to build.
    #[arg(long, value_enum, default_value = "hnsw")]
    index: setting::IndexKind,
    /// A parameter: m, ef_construct (hnsw); nlist, subquantizers (ivfpq).
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting::pair)]
    set: Vec<(String, usize)>,
    /// Neighbours asked for.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    k: u16,
    /// Threads that ask at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: u16,
    /// Recall to reach: the fastest setting that does is told. Default: all settings are.
    #[arg(long, value_delimiter = ',', value_parser = setting::share)]
    recall: Vec<f64>,
    /// A line of JSON for each point in place of the table.
    #[arg(long)]
    json: bool,
}

/// Builds, asks, and prints a line for each point.
///
/// # Errors
/// When files cannot be read or do not fit together, a parameter is out of its range, or a recall is not reached.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let kind = args.index.kind(&args.set)?;
    let data = Data::open(args)?;
    let begun = Instant::now();
    let index = build(&data, kind)?;
    let built = begun.elapsed();
    let print = |choice: &Choice, measured: &Measured| {
        let line = if args.json {
            let Stats { vector_bytes, graph_bytes, queue_bytes, table_bytes, .. } = index.stats();
            let index_bytes = vector_bytes + graph_bytes + queue_bytes + table_bytes;
            measured.json(args, &data, choice, built, index_bytes)
        } else {
            measured.row(choice)
        };
        println!("{line}");
    };
    if !args.json {
        let Stats { vector_bytes, graph_bytes, queue_bytes, table_bytes, .. } = index.stats();
        let beside = (graph_bytes + queue_bytes + table_bytes) / data.base.len();
        println!(
            "{}: {} vectors of {}, {:?}, {} queries; built in {:.1} s; a vector takes {} bytes and {beside} beside them",
            data.name,
            data.base.len(),
            data.base.dim,
            args.metric,
            data.queries.len(),
            built.as_secs_f64(),
            vector_bytes / data.base.len()
        );
        println!("{}", Measured::head());
    }
    let k = usize::from(args.k);
    let choices = args.index.choices(k, &index);
    if args.recall.is_empty() {
        for choice in &choices {
            print(choice, &measure(&index, &data, choice, args, |_| true)?);
        }
        return Ok(());
    }
    let known: Vec<Measured> = choices
        .iter()
        .map(|choice| measure(&index, &data, choice, args, |query| query % 2 == 0))
        .collect::<anyhow::Result<_>>()?;
    for wanted in &args.recall {
        let reach = choices.iter().zip(&known).filter(|(_, measured)| measured.recall >= *wanted);
        let fastest = reach.max_by(|(_, a), (_, b)| a.qps.total_cmp(&b.qps));
        let best = known.iter().map(|measured| measured.recall).fold(0.0, f64::max);
        let (choice, _) = fastest.with_context(|| format!("recall {wanted} is not reached, {best:.4} is"))?;
        print(choice, &measure(&index, &data, choice, args, |query| query % 2 == 1)?);
    }
    Ok(())
}

fn build(data: &Data, kind: Kind) -> anyhow::Result<Index> {
    let mut index = Index::new(Config { dim: data.base.dim, metric: data.metric, kind, seed: 1 })?;
    let bar = bar(data.base.len(), "vectors")?;
    for at in 0..data.base.len() {
        let slot = u32::try_from(at).context("more vectors than slots")?;
        index.upsert(slot, data.base.row(at)).with_context(|| format!("vector {at}"))?;
        if at % STEPS == 0 {
            index.merge(2 * STEPS);
            bar.set_position(at as u64);
        }
    }
    while index.can_merge() {
        index.merge(STEPS);
    }
    bar.finish_and_clear();
    Ok(index)
}

/// A progress bar, on a terminal only.
fn bar(length: usize, what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("   {bar:48} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(length as u64).with_style(style).with_message(what.to_owned()))
}

impl From<Distance> for Metric {
    fn from(distance: Distance) -> Self {
        match distance {
            Distance::Cosine => Self::Cosine,
            Distance::Dot => Self::Dot,
            Distance::L2 => Self::Euclid,
            Distance::L1 => Self::Manhattan,
        }
    }
}
