//! `meridian`: Meridian on the command line.

use clap::{Parser, Subcommand};
use meridian_cli::local;

/// Meridian on the command line.
#[derive(Parser)]
#[command(name = "meridian", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs regions as processes on this machine until it is told to stop.
    Local(local::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::Local(args) => local::run(args).await,
        }
    })
}
