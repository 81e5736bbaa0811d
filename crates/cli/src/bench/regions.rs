//! `meridian bench regions`: two regions on this machine under a fixed request rate; measures latencies and outages.
//!
//! ```text
//!   start ─► load ─► recall ─► writes and searches at their rates ─► writes while leaders are killed ─► one line
//! ```
//! The load is open: latency counts from the scheduled start of a request, so a stalled server cannot hide its delay by
//! receiving fewer requests ("coordinated omission"). Start at [`run`].

use std::time::Duration;

use super::{load, outage, recall};
use crate::demo::{DemoArgs, DemoContext, heading, load as fill, ms, quantile, run_demo};
use crate::local::Signals;

/// Arguments of `meridian bench regions`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    demo_args: DemoArgs,
    /// Writes per second, to the primary region.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub writes: u32,
    /// Searches per second, half of them in each region.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub queries: u32,
    /// Duration of the load without faults, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Number of leaders that are killed afterwards.
    #[arg(long, default_value_t = 3)]
    pub kills: u32,
}

/// Runs the benchmark and prints a summary line.
///
/// # Errors
/// When the regions do not start, or a request fails before the first kill.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let line =
        run_demo(args.demo_args.clone(), &mut signals, async |demo: &DemoContext| steps(demo, &args).await).await?;
    println!("\n{line}");
    Ok(())
}

async fn steps(demo: &DemoContext, args: &Args) -> anyhow::Result<String> {
    fill(demo).await?;
    let recall = recall::recall(demo).await?;
    heading("A fixed rate");
    let mut latencies = load::run(demo, args, Duration::from_secs(args.seconds.into())).await?;
    let line = format!(
        "bench: n={} dim={} writes_per_s={} queries_per_s={} ack_p50_ms={} ack_p99_ms={} search_p50_ms={} search_p99_ms={} \
         visible_p50_ms={} visible_p99_ms={} recall_at_10={recall:.4}",
        demo.words.len(),
        demo.words.dim,
        args.writes,
        args.queries,
        ms(quantile(&mut latencies.acknowledged, 0.5)),
        ms(quantile(&mut latencies.acknowledged, 0.99)),
        ms(quantile(&mut latencies.searched, 0.5)),
        ms(quantile(&mut latencies.searched, 0.99)),
        ms(quantile(&mut latencies.visible, 0.5)),
        ms(quantile(&mut latencies.visible, 0.99)),
    );
    println!("   {}", line.trim_start_matches("bench: "));
    let outages = outage::measure_outages(demo, args).await?;
    Ok(match outages.iter().max() {
        Some(longest) => format!("{line} paused_max_ms={}", longest.as_millis()),
        None => line,
    })
}
