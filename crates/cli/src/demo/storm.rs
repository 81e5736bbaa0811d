//! Leaders are killed under a load of upserts, overwrites and deletes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::sleep;

use super::ledger::Outcome;
use super::numbers::grouped;
use super::stage::{Stage, heading};
use crate::local::send_signal;

/// Writers at once; each has points of its own.
const WRITERS: usize = 8;
/// Points of a writer: loaded ones, which are overwritten and deleted, and as many new ones.
const POINTS: u64 = 60;
/// Load before the first kill.
const CALM: Duration = Duration::from_secs(3);
/// Load after each: a pause is looked for in it.
pub const AFTER: Duration = Duration::from_secs(6);
/// After a write that was refused.
const PAUSE: Duration = Duration::from_millis(10);
/// For a killed node to lead or follow again.
const BACK: Duration = Duration::from_secs(20);

/// Kills the leader of the primary region, then that of the other; returns the longest time without an acknowledgement.
pub async fn storm(stage: &Stage) -> anyhow::Result<Duration> {
    heading("Kill leaders under load");
    println!("   {WRITERS} writers upsert, overwrite and delete; every upsert carries a counter.");
    let before = stage.ledger.acknowledged();
    let stop = AtomicBool::new(false);
    let writers = join_all((0..WRITERS).map(|number| write(stage, number, &stop)));
    let script = async {
        let done = kill(stage).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let begun = Instant::now();
    let (acknowledged, killed) = tokio::join!(writers, script);
    let took = begun.elapsed();
    let killed = killed?;
    let mut times: Vec<Instant> = acknowledged.into_iter().flatten().collect();
    times.sort_unstable();
    let paused = longest_pause(&times, killed[0], AFTER).unwrap_or(took);
    let count = stage.ledger.acknowledged() - before;
    println!(
        "   {} writes acknowledged in {:.1} s; {} of unknown outcome, each read back below.",
        grouped(count),
        took.as_secs_f64(),
        stage.ledger.unknown()
    );
    println!("   No write was acknowledged for {} ms when {}'s leader died.", paused.as_millis(), stage.name(0));
    anyhow::ensure!(
        count > 0 && times.last().is_some_and(|last| *last > killed[0]),
        "no write was acknowledged after the kill"
    );
    Ok(paused)
}

/// The longest time between two acknowledgements, `times` in order, in a window behind `from`.
pub fn longest_pause(times: &[Instant], from: Instant, window: Duration) -> Option<Duration> {
    let inside = times.windows(2).filter(|pair| pair[1] > from && pair[0] < from + window);
    inside.map(|pair| pair[1] - pair[0]).max()
}

async fn kill(stage: &Stage) -> anyhow::Result<Vec<Instant>> {
    let mut killed = Vec::new();
    sleep(CALM).await;
    for region in 0..2 {
        let leader = KilledLeader::of(stage, region).await?;
        let layout = &stage.running.layout().regions[region];
        let (name, pid) = (layout.node_name(&layout.nodes[leader.node]), leader.pid);
        println!("   kill -9 {name} (process {pid}), which led {}.", layout.name);
        killed.push(leader.at);
        leader.comes_back(stage).await?;
    }
    Ok(killed)
}

/// A leader that was killed.
pub struct KilledLeader {
    pub at: Instant,
    region: usize,
    node: usize,
    pid: u32,
}

impl KilledLeader {
    /// Kills the leader of a region.
    ///
    /// # Errors
    /// When there is none.
    pub async fn of(stage: &Stage, region: usize) -> anyhow::Result<Self> {
        let node = stage.running.leader(region, Stage::shard()).await?;
        let pid = stage.running.pid(region, node).context("the leader is not running")?;
        let at = Instant::now();
        send_signal(pid, Signal::KILL)?;
        Ok(Self { at, region, node, pid })
    }

    /// Lets the load go on for [`AFTER`], then waits until there is a leader and the killed node runs again.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn comes_back(&self, stage: &Stage) -> anyhow::Result<()> {
        sleep(AFTER).await;
        let back = async || {
            let again = stage.running.pid(self.region, self.node).is_some_and(|now| now != self.pid);
            Ok(again && stage.running.leader(self.region, Stage::shard()).await.is_ok())
        };
        Stage::until("a leader and the killed node", BACK, back).await.map(drop)
    }
}

/// Writes until told to stop; returns when each write was acknowledged.
async fn write(stage: &Stage, number: usize, stop: &AtomicBool) -> Vec<Instant> {
    let mut random = SmallRng::seed_from_u64(number as u64);
    let mut acknowledged = Vec::new();
    let fresh = stage.words.len() as u64 + 10_000;
    while !stop.load(Ordering::Relaxed) {
        let nth = random.random_range(0..2 * POINTS);
        // Points of one writer are never those of another: n-th of mine, over all writers.
        let id = if nth < POINTS { nth } else { fresh + nth } * WRITERS as u64 + number as u64;
        let delete = random.random_ratio(1, 4);
        match stage.write(id, random.random_range(0..stage.words.len()), delete).await {
            Some(Outcome::Acknowledged) => acknowledged.push(Instant::now()),
            Some(_) => sleep(PAUSE).await,
            // A closed point, or one to be deleted that does not stand: another one.
            None => tokio::task::yield_now().await,
        }
    }
    acknowledged
}
