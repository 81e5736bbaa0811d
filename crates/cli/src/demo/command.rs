//! `meridian demo`.

use std::time::{Duration, Instant};

use super::audit::{Audit, audit};
use super::context::{DemoContext, heading};
use super::freshness::freshness;
use super::kill_leaders::kill_leaders_under_load;
use super::load::load;
use super::replication_delay::measure_replication_delay;
use super::run_demo::{DemoArgs, run_demo};
use super::search::search;
use super::stats::ms;
use crate::local::Signals;

/// Arguments of `meridian demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    demo_args: DemoArgs,
}

/// Content of the summary line.
struct DemoSummary {
    audit: Audit,
    visible_p50: Duration,
    longest_outage: Duration,
    search_p99: Duration,
}

/// Runs the demo and prints the summary line.
///
/// # Errors
/// When a guarantee is violated or a step fails. All started processes are stopped.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let start = Instant::now();
    match run_steps(args, &mut signals).await {
        Ok(DemoSummary { audit, visible_p50, longest_outage, search_p99 }) => {
            heading(&format!("Done in {:.0} s", start.elapsed().as_secs_f64()));
            let verdict = if audit.passed() { "ok" } else { "failed" };
            println!(
                "demo: {verdict} acknowledged={} lost={} doubled={} digests={} visible_p50_ms={} paused_ms={} search_p99_ms={}",
                audit.acknowledged,
                audit.lost,
                audit.duplicated,
                if audit.digests_equal { "equal" } else { "different" },
                ms(visible_p50),
                longest_outage.as_millis(),
                ms(search_p99),
            );
            anyhow::ensure!(audit.passed(), "a guarantee was violated");
            Ok(())
        }
        Err(error) => {
            println!("demo: failed {error:#}");
            Err(error)
        }
    }
}

async fn run_steps(args: Args, signals: &mut Signals) -> anyhow::Result<DemoSummary> {
    println!("Meridian: two regions on this machine; one replicates the other. Ctrl-C stops everything.");
    run_demo(args.demo_args, signals, steps).await
}

async fn steps(demo: &DemoContext) -> anyhow::Result<DemoSummary> {
    load(demo).await?;
    let search_p99 = search(demo).await?;
    let visible_p50 = measure_replication_delay(demo).await?;
    freshness(demo).await?;
    let longest_outage = kill_leaders_under_load(demo).await?;
    let audit = audit(demo).await?;
    Ok(DemoSummary { audit, visible_p50, longest_outage, search_p99 })
}
