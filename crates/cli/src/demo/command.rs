//! `meridian demo`.

use std::time::{Duration, Instant};

use super::audit::{Audit, audit};
use super::freshness::freshness;
use super::load::load;
use super::numbers::ms;
use super::play::{Setting, play};
use super::search::search;
use super::stage::{Stage, heading};
use super::storm::storm;
use super::visible::visible;
use crate::local::Signals;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    setting: Setting,
}

/// What the last line tells.
struct Verdict {
    audit: Audit,
    visible_p50: Duration,
    paused: Duration,
    search_p99: Duration,
}

/// Runs the demo and prints its verdict.
///
/// # Errors
/// When a promise was not kept, or the demo could not be shown. Everything it started is stopped.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let begun = Instant::now();
    match show(args, &mut signals).await {
        Ok(Verdict { audit, visible_p50, paused, search_p99 }) => {
            heading(&format!("Done in {:.0} s", begun.elapsed().as_secs_f64()));
            let word = if audit.is_fine() { "ok" } else { "failed" };
            println!(
                "demo: {word} acknowledged={} lost={} doubled={} digests={} visible_p50_ms={} paused_ms={} search_p99_ms={}",
                audit.acknowledged,
                audit.lost,
                audit.doubled,
                if audit.digests_equal { "equal" } else { "different" },
                ms(visible_p50),
                paused.as_millis(),
                ms(search_p99),
            );
            anyhow::ensure!(audit.is_fine(), "a promise was not kept");
            Ok(())
        }
        Err(fault) => {
            println!("demo: failed {fault:#}");
            Err(fault)
        }
    }
}

async fn show(args: Args, signals: &mut Signals) -> anyhow::Result<Verdict> {
    println!("Meridian: two regions on this machine, one follows the other. Ctrl-C stops everything.");
    play(args.setting, signals, scenes).await
}

async fn scenes(stage: &Stage) -> anyhow::Result<Verdict> {
    load(stage).await?;
    let search_p99 = search(stage).await?;
    let visible_p50 = visible(stage).await?;
    freshness(stage).await?;
    let paused = storm(stage).await?;
    let audit = audit(stage).await?;
    Ok(Verdict { audit, visible_p50, paused, search_p99 })
}
