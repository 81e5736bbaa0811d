//! `meridian bench ann`: recall and throughput of an index on any vectors.
//!
//! `data` reads vectors, queries and true neighbors; `settings` lists parameters; `measure` runs and times queries; `churn`
//! replaces vectors, and `concurrent_search` searches meanwhile. With `--recall`, the setting is chosen on one half of the
//! queries and measured on the other half, so that the result holds for unseen queries.

mod auto;
mod case;
mod churn;
mod concurrent_search;
mod data;
mod file;
mod measure;
mod settings;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use meridian_ann::{Config, Index, Kind, Metric, Stats};

use case::{Case, Rule, Share};
use data::Data;
use measure::{Built, Measured, Resident, fastest, measure, most_thorough, resident};
use settings::{DatatypeName, IndexName, ProfileName, SearchSetting, StorageName};

/// Distance function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Distance {
    /// Cosine; vectors are normalized to length 1.
    Cosine,
    /// Inner product.
    Dot,
    /// Euclidean.
    L2,
    /// Sum of absolute differences.
    L1,
}

/// Arguments of `meridian bench ann`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Vectors: .npy (32-bit floats), .fvecs or .fbin. Default: the word vectors that `make demo` downloads.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Queries, in the same formats. Default: 1,000 vectors held out of the base, evenly spread (with --churn, over the
    /// final window).
    #[arg(long)]
    queries: Option<PathBuf>,
    /// True neighbors of the queries, nearest first: .ivecs or .ibin. Default: computed by exact search.
    #[arg(long, requires = "queries")]
    truth: Option<PathBuf>,
    /// Limit of vectors read from the base.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    n: usize,
    /// Distance function.
    #[arg(long, value_enum, default_value = "cosine")]
    metric: Distance,
    /// Index kind to build.
    #[arg(long, value_enum, default_value = "auto")]
    index: IndexName,
    /// A parameter: m (16), ef_construct (100; 200 with profile speed) (hnsw); nlist, subquantizers (ivfpq).
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = settings::parse_key_value)]
    set: Vec<(String, usize)>,
    /// Neighbors per query.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    k: u16,
    /// Memory profile of the graph.
    #[arg(long, value_enum, default_value = "balanced")]
    profile: ProfileName,
    /// Datatype of stored vectors.
    #[arg(long, value_enum, default_value = "float32")]
    datatype: DatatypeName,
    /// Storage of full vectors. Default: a file with profile memory, else memory.
    #[arg(long, value_enum)]
    storage: Option<StorageName>,
    /// Threads that build the index, and then query it concurrently.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: u16,
    /// Queries per call; latencies are per call.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Target recall: prints the fastest setting that reaches it, and the result of the index's own choice for that target.
    /// Default: all settings are printed.
    #[arg(long, value_delimiter = ',', value_parser = settings::parse_fraction)]
    recall: Vec<f64>,
    /// Filter that matches this share of the vectors: once spread evenly, once the vectors furthest in one direction.
    /// The filter is shared by all queries, so its matching set is computed once.
    #[arg(long, value_delimiter = ',', value_parser = settings::parse_fraction, conflicts_with_all = ["churn", "rounds"])]
    filter: Vec<f64>,
    /// Replace vectors, oldest first, until this share of the index is new (1: all of it), and compare with an index
    /// built of the same vectors at once.
    #[arg(long, value_name = "SHARE", value_parser = churn::turnover, conflicts_with_all = ["filter", "rounds", "truth"])]
    churn: Option<f64>,
    /// Search from another thread meanwhile, and print the latencies.
    #[arg(long = "beside", requires = "churn", conflicts_with = "json")]
    concurrent_search: bool,
    /// Write the built index to this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["churn", "open"])]
    save: Option<PathBuf>,
    /// Query the index in this file, written by `--save`, instead of building one; its vectors are memory-mapped.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["index", "set", "profile", "datatype", "storage", "churn"])]
    open: Option<PathBuf>,
    /// Print one JSON object per measurement instead of the table.
    #[arg(long)]
    json: bool,
    /// Measure all settings once per line of input. An empty line marks the end of the build and of each round.
    #[arg(long, requires = "json", conflicts_with = "recall")]
    rounds: bool,
}

impl Args {
    fn storage(&self) -> StorageName {
        let by_profile = if self.profile == ProfileName::Memory { StorageName::File } else { StorageName::Memory };
        if self.open.is_some() { StorageName::Mapped } else { self.storage.unwrap_or(by_profile) }
    }
}

/// Builds the index, runs the queries and prints one line per measurement.
///
/// # Errors
/// When files cannot be read or do not match, a parameter is out of range, or a recall is not reached.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let index_kind = args.index.index_kind();
    if let (None, Some((key, _))) = (index_kind, args.set.first()) {
        bail!("--set {key} requires --index");
    }
    // Validate parameters before any long computation.
    let set = index_kind.map(|index_kind| index_kind.kind(&args.set, args.profile.into())).transpose()?;
    let data = Data::open(args)?;
    let k = usize::from(args.k);
    let index_file = args.save.as_deref().map(file::IndexFile::create).transpose()?;
    let (subject, built) = if let Some(path) = &args.open {
        let (before, start) = (resident(), Instant::now());
        let (subject, index) = file::open(path, &data)?;
        let mut built = Built::new(&subject, index, start, before);
        built.state = "opened";
        (subject, built)
    } else {
        let index = index_kind.map_or_else(|| auto::choose_index(&data, args), Ok)?;
        let kind = set.map_or_else(|| index.kind(&[], args.profile.into()), Ok)?;
        if let Some(turnover) = args.churn {
            return churn::run(args, &data, index, kind, turnover);
        }
        let (before, start) = (resident(), Instant::now());
        let subject = build(&data, 0, kind, args)?;
        let built = Built::new(&subject, index, start, before);
        (subject, built)
    };
    if let Some(index_file) = index_file {
        index_file.write(&subject)?;
    }
    let report = Report { args, data: &data, index: &subject, built: &built };
    report.header();
    if args.rounds {
        println!();
        let case = Case::all(&data, 0, k)?;
        for line in std::io::stdin().lines() {
            line.context("standard input")?;
            report.points(&case)?;
            println!();
        }
        return Ok(());
    }
    if args.filter.is_empty() {
        return report.points(&Case::all(&data, 0, k)?);
    }
    for of_all in &args.filter {
        for rule in [Rule::Random, Rule::Direction] {
            report.points(&Case::filtered(&data, Share { of_all: *of_all, rule }, k)?)?;
        }
    }
    Ok(())
}

/// Prints the measurements of one index.
struct Report<'a> {
    args: &'a Args,
    data: &'a Data,
    index: &'a Index,
    built: &'a Built,
}

impl Report<'_> {
    /// Prints a description of the index and the table header; nothing with `--json`.
    fn header(&self) {
        if self.args.json {
            return;
        }
        let Stats { live, vector_bytes, graph_bytes, queue_bytes, table_bytes, .. } = self.index.stats();
        println!(
            "{}: {:?} ({}) of {live} vectors of {}, {:?}, {} queries; built in {:.1} s; {} bytes per vector in {} and {} bytes of index",
            self.data.name,
            self.built.index,
            self.built.state,
            self.data.base.dim,
            self.args.metric,
            self.data.queries.len(),
            self.built.time.as_secs_f64(),
            vector_bytes / live.max(1),
            if self.args.storage() == StorageName::Memory { "memory" } else { "a file" },
            (graph_bytes + queue_bytes + table_bytes) / live.max(1),
        );
        if let Some(Resident { anonymous, mapped }) = self.built.memory_growth {
            let per_vector = |bytes: u64| bytes / live.max(1) as u64;
            println!(
                "memory growth per vector: {} bytes anonymous, {} bytes mapped",
                per_vector(anonymous),
                per_vector(mapped)
            );
        }
        println!("{}", Measured::header());
    }

    /// Prints one line per setting, or per target recall for the fastest setting that reaches it.
    fn points(&self, case: &Case) -> anyhow::Result<()> {
        let Self { args, data, index, built } = self;
        if let Some(title) = case.title().filter(|_| !args.json) {
            println!("{title}");
        }
        let print = |setting: &SearchSetting, measured: &Measured| {
            let line =
                if args.json { measured.json(args, (data, case), setting, built) } else { measured.row(setting) };
            println!("{line}");
        };
        let search_settings = built.index.search_settings(usize::from(args.k), index);
        if args.recall.is_empty() {
            for setting in &search_settings {
                print(setting, &measure(index, (data, case), setting, args, |_| true)?);
            }
            return Ok(());
        }
        let measured_settings: Vec<(&SearchSetting, Measured)> = search_settings
            .iter()
            .map(|setting| Ok((setting, measure(index, (data, case), setting, args, |query| query % 2 == 0)?)))
            .collect::<anyhow::Result<_>>()?;
        for target_recall in &args.recall {
            let best = most_thorough(&measured_settings).map_or(0.0, |(_, measured)| measured.recall);
            let (setting, _) = fastest(&measured_settings, *target_recall)
                .with_context(|| format!("recall {target_recall} is not reached (best: {best:.4})"))?;
            print(setting, &measure(index, (data, case), setting, args, |query| query % 2 == 1)?);
            // The index's own choice of effort for this recall.
            if let Some(target) = SearchSetting::target(*target_recall) {
                print(&target, &measure(index, (data, case), &target, args, |_| true)?);
            }
        }
        Ok(())
    }
}

/// Builds an index of the vectors from `first` on; the slot of a vector is its row.
fn build(data: &Data, first: usize, kind: Kind, args: &Args) -> anyhow::Result<Index> {
    let mut index = Index::new_in(config(data, kind, args), args.storage().open()?)?;
    let all = data.base.len();
    u32::try_from(all).context("more vectors than slots")?;
    let bar = bar(all - first, "vectors")?;
    let points = (first..all).map(|at| (at as u32, data.base.row(at)));
    let built = index.extend(points, usize::from(args.threads), |done| bar.set_position(done as u64));
    built.map_err(|(at, error)| anyhow::Error::new(error).context(format!("vector {at}")))?;
    bar.finish_and_clear();
    Ok(index)
}

fn config(data: &Data, kind: Kind, args: &Args) -> Config {
    let (profile, datatype) = (args.profile.into(), args.datatype.into());
    Config { profile, datatype, seed: 1, ..Config::new(data.base.dim, data.metric, kind) }
}

/// A progress bar, drawn only on a terminal.
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
