//! `meridian bench regions`: two regions on this machine under a load of a fixed rate, and how long things take.
//!
//! ```text
//!   start ─► load ─► recall ─► writes and searches at their rates ─► the same while leaders are killed ─► one line
//! ```
//! The load is open: each request has its time, and what it takes is counted from then, so that a server that stalls cannot
//! hide it by being asked less ("coordinated omission"). Start at [`run`].

use std::time::Duration;

use super::{load, pause, recall};
use crate::demo::{Setting, Stage, heading, load as fill, ms, play, quantile};
use crate::local::Signals;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Writes a second, to the primary region.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub writes: u32,
    /// Searches a second, half of them in each region.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub queries: u32,
    /// Seconds of undisturbed load.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// How many leaders are killed after it.
    #[arg(long, default_value_t = 3)]
    pub kills: u32,
}

/// Measures, and prints one line at the end.
///
/// # Errors
/// When the regions do not start, or a request fails while nothing is killed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let line = play(args.setting.clone(), &mut signals, async |stage: &Stage| scenes(stage, &args).await).await?;
    println!("\n{line}");
    Ok(())
}

async fn scenes(stage: &Stage, args: &Args) -> anyhow::Result<String> {
    fill(stage).await?;
    let recall = recall::recall(stage).await?;
    heading("A fixed rate");
    let mut seen = load::run(stage, args, Duration::from_secs(args.seconds.into())).await?;
    let line = format!(
        "bench: n={} dim={} writes_per_s={} queries_per_s={} ack_p50_ms={} ack_p99_ms={} search_p50_ms={} search_p99_ms={} \
         visible_p50_ms={} visible_p99_ms={} recall_at_10={recall:.4}",
        stage.words.len(),
        stage.words.dim,
        args.writes,
        args.queries,
        ms(quantile(&mut seen.acknowledged, 0.5)),
        ms(quantile(&mut seen.acknowledged, 0.99)),
        ms(quantile(&mut seen.searched, 0.5)),
        ms(quantile(&mut seen.searched, 0.99)),
        ms(quantile(&mut seen.visible, 0.5)),
        ms(quantile(&mut seen.visible, 0.99)),
    );
    println!("   {}", line.trim_start_matches("bench: "));
    let paused = pause::pauses(stage, args).await?;
    Ok(match paused.iter().max() {
        Some(longest) => format!("{line} paused_max_ms={}", longest.as_millis()),
        None => line,
    })
}
