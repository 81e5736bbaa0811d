//! For how long no write is acknowledged when a leader dies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use rustix::process::Signal;
use tokio::time::sleep;

use super::load;
use super::regions::Args;
use crate::demo::{Stage, heading, longest_pause};
use crate::local::send_signal;

/// Writers at once; each writes again as soon as it has an answer, or this long after a refusal.
const WRITERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// Load before each kill and after it.
const CALM: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(6);
/// For a killed node to follow again.
const BACK: Duration = Duration::from_secs(20);
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
        let leader = stage.running.leader(0, Stage::shard()).await?;
        let pid = stage.running.pid(0, leader).context("the leader is not running")?;
        killed.push(Instant::now());
        send_signal(pid, Signal::KILL)?;
        sleep(AFTER).await;
        let back = async || {
            let running = stage.running.pid(0, leader).is_some_and(|now| now != pid);
            Ok(running && stage.running.leader(0, Stage::shard()).await.is_ok())
        };
        Stage::until("the killed node", BACK, back).await?;
    }
    Ok(killed)
}
