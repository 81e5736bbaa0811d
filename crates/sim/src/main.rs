//! `meridian-sim --seeds A..B`: runs seeds and prints counts, and the command that replays a failing seed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use meridian_sim::{Counts, InjectedBug, Plan, Report, run};

/// Simulates regions of replicas under faults.
#[derive(Parser)]
struct Args {
    /// One seed, or a half-open range `A..B`.
    #[arg(long, env = "SEEDS", default_value = "0..300")]
    seeds: String,
    /// Number of threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Name of a bug to inject.
    #[arg(long)]
    inject: Option<String>,
    /// Number of full disks of a shard, instead of the seed's faults.
    #[arg(long, default_value_t = 0)]
    full_disks: usize,
    /// Whether to print events.
    #[arg(long)]
    verbose: bool,
    /// Prints for each seed a hash of all events and commands, to compare two builds.
    #[arg(long)]
    hash: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let (from, to) = range(&args.seeds)?;
    let injected_bug = args.inject.as_deref().map(injected_bug).transpose()?;
    let plan = Plan { injected_bug, verbose: args.verbose, full_disks: args.full_disks, hash: args.hash };
    let start = Instant::now();
    let next = AtomicU64::new(from);
    let (sender, receiver) = mpsc::channel::<Report>();
    let mut total = Counts::default();
    let (mut done, mut failed) = (0, Vec::new());
    let mut hashes = BTreeMap::new();
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to || sender.send(run(seed, plan)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for report in receiver {
            done += 1;
            total.add(&report.counts);
            hashes.extend(report.hash.map(|hash| (report.seed, hash)));
            if !report.violations.is_empty() {
                println!("seed {} failed:", report.seed);
                report.violations.iter().for_each(|violation| println!("  {violation}"));
                println!("  again: {}", report.replay());
                failed.push(report.seed);
            }
            if to - from == 1 {
                println!("seed {}: trace {:016x}", report.seed, report.trace);
            }
            if done % 25 == 0 {
                let minutes = start.elapsed().as_secs_f64() / 60.0;
                println!(
                    "{done} of {} seeds, {:.0} a minute, {} failed",
                    to - from,
                    done as f64 / minutes,
                    failed.len()
                );
            }
        }
    });
    hashes.iter().for_each(|(seed, hash)| println!("seed {seed}: hash {hash:016x}"));
    println!("{total}");
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    println!("sim: seeds={done} failed={} seeds_a_minute={:.0}", failed.len(), done as f64 / minutes);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn range(text: &str) -> anyhow::Result<(u64, u64)> {
    let number =
        |text: &str| text.trim().parse::<u64>().with_context(|| format!("seed must be a whole number (got {text:?})"));
    match text.split_once("..") {
        Some((from, to)) => Ok((number(from)?, number(to)?)),
        None => number(text).map(|seed| (seed, seed + 1)),
    }
}

fn injected_bug(name: &str) -> anyhow::Result<InjectedBug> {
    let found = InjectedBug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.with_context(|| format!("bug must be one of {:?} (got {name:?})", InjectedBug::ALL))
}
