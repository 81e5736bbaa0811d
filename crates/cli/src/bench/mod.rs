//! `meridian bench`: figures, each measured from outside as a user meets it.
//!
//! `regions` is a whole service under load; `ann` is the search engine alone, to be compared with other libraries on the same
//! vectors; `limits` compares times and sizes with their bounds; `formats` is encode and decode alone.

mod ann;
mod formats;
mod limits;
mod load;
mod pause;
mod recall;
mod regions;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    /// Two regions on this machine under a load of a fixed rate.
    Regions(regions::Args),
    /// The search engine alone: recall and searches a second of an index over a file of vectors.
    Ann(ann::Args),
    /// Messages and log entries: bytes, and nanoseconds to encode and decode.
    Formats(formats::Args),
    /// Times and sizes beside the bounds that they must keep.
    #[command(subcommand)]
    Limits(limits::Limits),
}

/// Measures, and prints one line at the end.
///
/// # Errors
/// When it cannot be measured.
pub async fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Regions(args) => regions::run(args).await,
        Bench::Limits(limits) => limits::run(limits).await,
        Bench::Formats(args) => tokio::task::spawn_blocking(move || formats::run(&args)).await?,
        Bench::Ann(args) => tokio::task::spawn_blocking(move || ann::run(&args)).await?,
    }
}
