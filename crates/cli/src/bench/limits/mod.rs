//! `meridian bench limits`: times and sizes with an upper bound, each measured on processes of this machine.
//!
//! One file per topic. Every topic prints one line per round, and a last line with medians and bounds.

mod collections;
mod exact_scan;
mod memory;
mod overload;
mod restart;
mod server;
mod snapshot;

/// The topics.
#[derive(Debug, clap::Subcommand)]
pub enum Limits {
    /// Small collections are searched exactly: recall 1, within 3 times the graph's time at 20,000 x 100.
    ExactScan,
    /// From `exec` to the first correct response after SIGKILL: 2 s with one replica, 4 s with three at once.
    Restart(restart::Args),
    /// Search p99 while a snapshot is written: at most 1.5 times the p99 without.
    Snapshot(snapshot::Args),
    /// Searches at three times the capacity of one processor: goodput, p99, refusals, recovery.
    Overload,
    /// Memory of request bodies, and whether it is released.
    Memory,
    /// Processor time of a write with 1,000 collections: at most 1.2 times that with one.
    Collections,
}

/// Runs one topic.
///
/// # Errors
/// When the topic cannot be measured. An exceeded bound is printed, not an error.
pub async fn run(limits: Limits) -> anyhow::Result<()> {
    match limits {
        Limits::ExactScan => tokio::task::spawn_blocking(exact_scan::run).await?,
        Limits::Restart(args) => restart::run(args).await,
        Limits::Snapshot(args) => snapshot::run(args).await,
        Limits::Overload => overload::run().await,
        Limits::Memory => memory::run().await,
        Limits::Collections => collections::run().await,
    }
}

/// A measured value and its upper bound.
struct Bound {
    name: String,
    measured: f64,
    max: f64,
}

impl Bound {
    fn print(&self) {
        let Self { name, measured, max } = self;
        println!("{name}: {measured:.3} (bound: {max}){}", if measured <= max { "" } else { " OVER" });
    }
}

/// Median of `values` (the upper one of two); sorts the slice. NaN when it is empty.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
