//! `meridian`: Meridian on the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_cli::{bench, demo, local, render, status, upgrade};

/// Meridian on the command line.
#[derive(Parser)]
#[command(name = "meridian", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs regions as processes on this machine until a signal arrives.
    Local(local::Args),
    /// Makes a call of the operator to a running region of `meridian local`; for tests.
    #[command(hide = true)]
    LocalCall(local::CallArgs),
    /// Demonstrates two regions on this machine and verifies their guarantees.
    Demo(demo::Args),
    /// Runs a benchmark.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Prints the objects that the operator would apply for resource files; needs no Kubernetes.
    Render(render::Args),
    /// Prints the status that a node reports.
    Status(status::Args),
    /// Prints and finalizes the behavior versions of clusters on Kubernetes.
    #[command(subcommand)]
    Upgrade(upgrade::Command),
}

fn main() -> ExitCode {
    match begin(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meridian: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Bench(bench) => bench::run(bench).await,
            Command::Status(args) => status::run(args).await,
            Command::Upgrade(command) => upgrade::run(command).await,
            Command::Local(args) => local::run(args).await,
            Command::LocalCall(args) => local::call(args).await,
            Command::Render(args) => render::run(&args),
        }
    })
}
