//! `meridian bench limits`: times and sizes that must stay within a bound, each measured on processes of this machine.
//!
//! One file per topic. Every topic prints one line a round and a last line with the medians beside their bounds.

mod collections;
mod exact_scan;
mod memory;
mod overload;
mod restart;
mod server;
mod snapshot;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Limits {
    /// Small collections are searched exactly: nothing is missed, in 3 times the graph's time at 20,000 x 100.
    ExactScan,
    /// From `exec` to the first correct answer of nodes that were killed: 2 s with one replica, 4 s with three at once.
    Restart(restart::Args),
    /// Search p99 while a snapshot is written: 1.5 times that without.
    Snapshot(snapshot::Args),
    /// Searches at three times what one processor can do: goodput, p99, refusals, and how soon it is over.
    Overload,
    /// What request bodies cost in memory, and whether it comes back.
    Memory,
    /// What a write costs beside 1,000 collections: 1.2 times that beside one.
    Collections,
}

/// Measures.
///
/// # Errors
/// When it cannot be measured. A bound that is not kept is no error: it is printed.
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

/// A figure beside its bound.
struct Bound {
    what: String,
    found: f64,
    most: f64,
}

impl Bound {
    fn print(&self) {
        let Self { what, found, most } = self;
        println!("{what}: {found:.3} (bound: {most}){}", if found <= most { "" } else { " OVER" });
    }
}

/// The middle of some figures.
pub(super) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
