//! For how long no write is acknowledged when a leader dies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::time::sleep;

use super::load;
use super::regions::Args;
use crate::demo::{AFTER, KilledLeader, Stage, heading, longest_pause};

/// Writers at once; each writes again as soon as it has an answer, or this long after a refusal.
const WRITERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// Load before each kill.
const CALM: Duration = Duration::from_secs(2);
/// Ids above those of the other load.
const FIRST: u64 = 1_000_000;

/// Kills the leader of the primary region time and again.
///
/// # Errors
/// When a region does not come back, or nothing is acknowledged any more.
pub async fn pauses(stage: &Stage, args: &Args) -> anyhow::Result<Vec<Duration>> {
    if args.kills == 0 {
        return Ok(Vec::new());
    }
    heading("Killed leaders");
    let (next, stop) = (AtomicU64::new(FIRST), AtomicBool::new(false));
    let writers = join_all((0..WRITERS).map(|_| async {
        let mut acknowledged = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match load::write(stage, next.fetch_add(1, Ordering::Relaxed)).await {
                Ok(()) => acknowledged.push(Instant::now()),
                Err(_) => sleep(PAUSE).await,
            }
        }
        acknowledged
    }));
    let script = async {
        let killed = kill(stage, args.kills).await;
        stop.store(true, Ordering::Relaxed);
        killed
    };
    let (times, killed) = tokio::join!(writers, script);
    let mut times: Vec<Instant> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let mut pauses = Vec::new();
    for at in killed? {
        let pause = longest_pause(&times, at, AFTER).context("nothing was acknowledged after a kill")?;
        println!("   no write was acknowledged for {} ms", pause.as_millis());
        pauses.push(pause);
    }
    Ok(pauses)
}

async fn kill(stage: &Stage, kills: u32) -> anyhow::Result<Vec<Instant>> {
    let mut killed = Vec::new();
    for _ in 0..kills {
        sleep(CALM).await;
        let leader = KilledLeader::of(stage, 0).await?;
        killed.push(leader.at);
        leader.comes_back(stage).await?;
    }
    Ok(killed)
}
