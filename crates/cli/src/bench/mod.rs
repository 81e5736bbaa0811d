//! `meridian bench`: benchmarks, each measured from outside as a client sees the system.
//!
//! `regions` loads a whole service; `ann` measures the search engine alone, comparable with other libraries on the same
//! vectors; `limits` compares times and sizes with their bounds; `formats` measures encode and decode.

mod ann;
mod formats;
mod limits;
mod load;
mod outage;
mod recall;
mod regions;

/// The benchmarks.
#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    /// Two regions on this machine under a fixed request rate.
    Regions(regions::Args),
    /// The search engine alone: recall and queries/s of an index over a file of vectors.
    Ann(ann::Args),
    /// Messages and log entries: size in bytes, time to encode and decode in ns.
    Formats(formats::Args),
    /// Times and sizes compared with their bounds.
    #[command(subcommand)]
    Limits(limits::Limits),
}

/// Runs a benchmark and prints a summary line.
///
/// # Errors
/// When the benchmark cannot be run.
pub async fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Regions(args) => regions::run(args).await,
        Bench::Limits(limits) => limits::run(limits).await,
        Bench::Formats(args) => tokio::task::spawn_blocking(move || formats::run(&args)).await?,
        Bench::Ann(args) => tokio::task::spawn_blocking(move || ann::run(&args)).await?,
    }
}
