//! `meridian bench ann`: which recall an index reaches at which speed, on anyone's vectors.
//!
//! `data` reads vectors, queries and true neighbours; `setting` says which parameters there are; `measure` asks and times; `churn`
//! replaces vectors, and `beside` asks meanwhile.
//! With `--recall` the setting is chosen on half of the queries and told of the other half, so that it answers what is to be
//! expected of queries that were not there when it was chosen.

mod auto;
mod beside;
mod case;
mod churn;
mod data;
mod file;
mod measure;
mod setting;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use meridian_ann::{Config, Index, Kind, Metric, Stats};

use case::{Case, Rule, Share};
use data::Data;
use measure::{Built, Measured, Resident, fastest, measure, most_thorough, resident};
use setting::{Choice, DatatypeName, IndexName, ProfileName, StorageName};

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
    /// Queries, in the same formats. Default: 1,000 vectors of the base, evenly spread (of those at its end, which --churn leaves in the
    /// index), which are left out of it.
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
    #[arg(long, value_enum, default_value = "auto")]
    index: IndexName,
    /// A parameter: m (16), ef_construct (100; 200 with profile speed) (hnsw); nlist, subquantizers (ivfpq).
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting::pair)]
    set: Vec<(String, usize)>,
    /// Neighbours asked for.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    k: u16,
    /// What a graph spends memory on.
    #[arg(long, value_enum, default_value = "balanced")]
    profile: ProfileName,
    /// What the numbers of kept vectors are.
    #[arg(long, value_enum, default_value = "float32")]
    datatype: DatatypeName,
    /// Where vectors are kept. Default: in a file with profile memory, in memory with the others.
    #[arg(long, value_enum)]
    storage: Option<StorageName>,
    /// Threads that build, and then ask at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: u16,
    /// Queries asked in one call; times are those of calls.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Recall to reach: the fastest setting that does is told, and what the index does when it is asked for the recall itself.
    /// Default: all settings are told.
    #[arg(long, value_delimiter = ',', value_parser = setting::share)]
    recall: Vec<f64>,
    /// Ask only for this share of the vectors: once spread evenly, once those furthest in one direction. The filter is kept for all
    /// queries, which find out once whom it matches.
    #[arg(long, value_delimiter = ',', value_parser = setting::share, conflicts_with_all = ["churn", "rounds"])]
    filter: Vec<f64>,
    /// Replace the vectors by others, the oldest first, until this share of the index has come anew (1: all of it), and
    /// measure beside an index that is built of the same vectors at once.
    #[arg(long, value_name = "SHARE", value_parser = churn::turnover, conflicts_with_all = ["filter", "rounds", "truth"])]
    churn: Option<f64>,
    /// Search all the while from another thread, and tell how long that takes.
    #[arg(long, requires = "churn", conflicts_with = "json")]
    beside: bool,
    /// Write the index to this file when it is built.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["churn", "open"])]
    save: Option<PathBuf>,
    /// Ask the index that `--save` wrote to this file in place of building one; its vectors are mapped from where they lie.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["index", "set", "profile", "datatype", "storage", "churn"])]
    open: Option<PathBuf>,
    /// A line of JSON for each point in place of the table.
    #[arg(long)]
    json: bool,
    /// Measure all settings once for each line of input. An empty line ends the build and each round.
    #[arg(long, requires = "json", conflicts_with = "recall")]
    rounds: bool,
}

impl Args {
    fn storage(&self) -> StorageName {
        let by_profile = if self.profile == ProfileName::Memory { StorageName::File } else { StorageName::Memory };
        if self.open.is_some() { StorageName::Mapped } else { self.storage.unwrap_or(by_profile) }
    }
}

/// Builds, asks, and prints a line for each point.
///
/// # Errors
/// When files cannot be read or do not fit together, a parameter is out of its range, or a recall is not reached.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let named = args.index.named();
    if let (None, Some((key, _))) = (named, args.set.first()) {
        bail!("--set {key}: name the index that it belongs to by --index");
    }
    // Parameters are checked before anything long is begun.
    let set = named.map(|named| named.kind(&args.set, args.profile.into())).transpose()?;
    let data = Data::open(args)?;
    let k = usize::from(args.k);
    let saving = args.save.as_deref().map(file::Saving::begin).transpose()?;
    let (subject, built) = if let Some(path) = &args.open {
        let (before, begun) = (resident(), Instant::now());
        let (subject, index) = file::open(path, &data)?;
        let mut built = Built::new(&subject, index, begun, before);
        built.state = "opened";
        (subject, built)
    } else {
        let index = named.map_or_else(|| auto::choose(&data, args), Ok)?;
        let kind = set.map_or_else(|| index.kind(&[], args.profile.into()), Ok)?;
        if let Some(turnover) = args.churn {
            return churn::run(args, &data, index, kind, turnover);
        }
        let (before, begun) = (resident(), Instant::now());
        let subject = build(&data, 0, kind, args)?;
        let built = Built::new(&subject, index, begun, before);
        (subject, built)
    };
    if let Some(saving) = saving {
        saving.end(&subject)?;
    }
    let report = Report { args, data: &data, index: &subject, built: &built };
    report.head();
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
            report.points(&Case::some(&data, Share { of_all: *of_all, rule }, k)?)?;
        }
    }
    Ok(())
}

/// An index and what is told of it.
struct Report<'a> {
    args: &'a Args,
    data: &'a Data,
    index: &'a Index,
    built: &'a Built,
}

impl Report<'_> {
    /// What was built, and the head of the table; nothing for programs.
    fn head(&self) {
        if self.args.json {
            return;
        }
        let Stats { live, vector_bytes, graph_bytes, queue_bytes, table_bytes, .. } = self.index.stats();
        println!(
            "{}: {:?} ({}) of {live} vectors of {}, {:?}, {} queries; built in {:.1} s; a vector takes {} bytes in {} and {} beside them",
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
        if let Some(Resident { anonymous, mapped }) = self.built.grown {
            let each = |bytes: u64| bytes / live.max(1) as u64;
            println!("this process grew by {} bytes a vector of its own and {} mapped", each(anonymous), each(mapped));
        }
        println!("{}", Measured::head());
    }

    /// A line for each setting, or for the fastest that reaches each wanted recall.
    fn points(&self, case: &Case) -> anyhow::Result<()> {
        let Self { args, data, index, built } = self;
        if let Some(title) = case.title().filter(|_| !args.json) {
            println!("{title}");
        }
        let print = |choice: &Choice, measured: &Measured| {
            let line = if args.json { measured.json(args, (data, case), choice, built) } else { measured.row(choice) };
            println!("{line}");
        };
        let choices = built.index.choices(usize::from(args.k), index);
        if args.recall.is_empty() {
            for choice in &choices {
                print(choice, &measure(index, (data, case), choice, args, |_| true)?);
            }
            return Ok(());
        }
        let known: Vec<(&Choice, Measured)> = choices
            .iter()
            .map(|choice| Ok((choice, measure(index, (data, case), choice, args, |query| query % 2 == 0)?)))
            .collect::<anyhow::Result<_>>()?;
        for wanted in &args.recall {
            let best = most_thorough(&known).map_or(0.0, |(_, measured)| measured.recall);
            let (choice, _) =
                fastest(&known, *wanted).with_context(|| format!("recall {wanted} is not reached, {best:.4} is"))?;
            print(choice, &measure(index, (data, case), choice, args, |query| query % 2 == 1)?);
            // And what the index spends by itself when only the recall is named.
            if let Some(target) = Choice::target(*wanted) {
                print(&target, &measure(index, (data, case), &target, args, |_| true)?);
            }
        }
        Ok(())
    }
}

/// An index of the vectors from `first` on, each on the slot of its number.
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
