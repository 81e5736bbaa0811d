//! `meridian`: Meridian on the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_cli::{bench, demo, local, render, status};

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
    /// Shows two regions at work on this machine, and checks what they promise.
    Demo(demo::Args),
    /// Measures.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Prints the objects that the operator would apply for files of resources, without a Kubernetes.
    Render(render::Args),
    /// Tells what a node says of itself.
    Status(status::Args),
}

fn main() -> ExitCode {
    match begin(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("meridian: {fault:#}");
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
            Command::Local(args) => local::run(args).await,
            Command::Render(args) => render::run(&args),
        }
    })
}
