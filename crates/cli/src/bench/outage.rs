//! Write outage after the death of a leader.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::time::sleep;

use super::load;
use super::regions::Args;
use crate::demo::{DemoContext, KilledLeader, LOAD_AFTER_KILL, heading, longest_outage};

/// Concurrent writers, closed loop, and their delay after a failed write.
const WRITERS: usize = 8;
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// Duration of the load before each kill.
const LOAD_BEFORE_KILL: Duration = Duration::from_secs(2);
/// First point id, above those of the open load.
const FIRST_ID: u64 = 1_000_000;

/// Kills the leader of the primary region `args.kills` times; returns the write outage after each kill.
///
/// # Errors
/// When the region does not recover, or no write is acknowledged after a kill.
pub async fn measure_outages(demo: &DemoContext, args: &Args) -> anyhow::Result<Vec<Duration>> {
    if args.kills == 0 {
        return Ok(Vec::new());
    }
    heading("Killed leaders");
    let (next, stop) = (AtomicU64::new(FIRST_ID), AtomicBool::new(false));
    let writers = join_all((0..WRITERS).map(|_| async {
        let mut acknowledged = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match load::write(demo, next.fetch_add(1, Ordering::Relaxed)).await {
                Ok(()) => acknowledged.push(Instant::now()),
                Err(_) => sleep(RETRY_DELAY).await,
            }
        }
        acknowledged
    }));
    let killer = async {
        let killed = kill_leaders(demo, args.kills).await;
        stop.store(true, Ordering::Relaxed);
        killed
    };
    let (times, killed) = tokio::join!(writers, killer);
    let mut times: Vec<Instant> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let mut outages = Vec::new();
    for at in killed? {
        let outage = longest_outage(&times, at, LOAD_AFTER_KILL).context("nothing was acknowledged after a kill")?;
        println!("   write outage: {} ms", outage.as_millis());
        outages.push(outage);
    }
    Ok(outages)
}

async fn kill_leaders(demo: &DemoContext, kills: u32) -> anyhow::Result<Vec<Instant>> {
    let mut killed = Vec::new();
    for _ in 0..kills {
        sleep(LOAD_BEFORE_KILL).await;
        let leader = KilledLeader::kill(demo, 0).await?;
        killed.push(leader.at);
        leader.wait_until_recovered(demo).await?;
    }
    Ok(killed)
}
