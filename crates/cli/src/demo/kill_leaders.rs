//! Kills leaders under a load of upserts, overwrites and deletes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::sleep;

use super::context::{DemoContext, heading};
use super::stats::grouped;
use super::write_history::Outcome;
use crate::local::send_signal;

/// Concurrent writers; each writes its own points.
const WRITERS: usize = 8;
/// Loaded points per writer, which it overwrites and deletes; it writes as many new ones.
const POINTS_PER_WRITER: u64 = 60;
/// Duration of the load before the first kill.
const LOAD_BEFORE_KILL: Duration = Duration::from_secs(3);
/// Duration of the load after each kill; the outage is measured in this window.
pub const LOAD_AFTER_KILL: Duration = Duration::from_secs(6);
/// Delay after a write that was not acknowledged.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// Timeout until the killed node runs again and the shard has a leader.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Kills the leader of the primary region, then of the other region; returns the longest write outage after the first kill.
pub async fn kill_leaders_under_load(demo: &DemoContext) -> anyhow::Result<Duration> {
    heading("Kill leaders under load");
    println!("   {WRITERS} writers upsert, overwrite and delete points; every upsert carries a counter.");
    let before = demo.history.acknowledged();
    let stop = AtomicBool::new(false);
    let writers = join_all((0..WRITERS).map(|writer| run_writer(demo, writer, &stop)));
    let killer = async {
        let done = kill_leaders(demo).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let start = Instant::now();
    let (acknowledged, killed) = tokio::join!(writers, killer);
    let elapsed = start.elapsed();
    let killed = killed?;
    let mut times: Vec<Instant> = acknowledged.into_iter().flatten().collect();
    times.sort_unstable();
    let outage = longest_outage(&times, killed[0], LOAD_AFTER_KILL).unwrap_or(elapsed);
    let count = demo.history.acknowledged() - before;
    println!(
        "   {} writes acknowledged in {:.1} s; {} with an unknown outcome, which the audit resolves.",
        grouped(count),
        elapsed.as_secs_f64(),
        demo.history.unknown()
    );
    println!(
        "   Longest write outage: {} ms, after the leader of {} was killed.",
        outage.as_millis(),
        demo.region_name(0)
    );
    anyhow::ensure!(
        count > 0 && times.last().is_some_and(|last| *last > killed[0]),
        "no write was acknowledged after the kill"
    );
    Ok(outage)
}

/// Longest interval between two consecutive acknowledgements that overlaps `from..from + window`; `times` is ascending.
pub fn longest_outage(times: &[Instant], from: Instant, window: Duration) -> Option<Duration> {
    let inside = times.windows(2).filter(|pair| pair[1] > from && pair[0] < from + window);
    inside.map(|pair| pair[1] - pair[0]).max()
}

async fn kill_leaders(demo: &DemoContext) -> anyhow::Result<Vec<Instant>> {
    let mut killed = Vec::new();
    sleep(LOAD_BEFORE_KILL).await;
    for region in 0..2 {
        let leader = KilledLeader::kill(demo, region).await?;
        let layout = &demo.cluster.layout().regions[region];
        let (name, pid) = (layout.node_name(&layout.nodes[leader.node]), leader.pid);
        println!("   kill -9 {name} (process {pid}), leader of {}.", layout.name);
        killed.push(leader.at);
        leader.wait_until_recovered(demo).await?;
    }
    Ok(killed)
}

/// A killed leader process.
pub struct KilledLeader {
    pub at: Instant,
    region: usize,
    node: usize,
    pid: u32,
}

impl KilledLeader {
    /// Sends SIGKILL to the leader of a region (index in the layout).
    ///
    /// # Errors
    /// When the region has no leader.
    pub async fn kill(demo: &DemoContext, region: usize) -> anyhow::Result<Self> {
        let node = demo.cluster.leader(region, DemoContext::shard()).await?;
        let pid = demo.cluster.pid(region, node).context("the leader is not running")?;
        let at = Instant::now();
        send_signal(pid, Signal::KILL)?;
        Ok(Self { at, region, node, pid })
    }

    /// Waits for [`LOAD_AFTER_KILL`], then until the shard has a leader and the killed node runs again.
    ///
    /// # Errors
    /// When the timeout is over.
    pub async fn wait_until_recovered(&self, demo: &DemoContext) -> anyhow::Result<()> {
        sleep(LOAD_AFTER_KILL).await;
        let recovered = async || {
            let restarted = demo.cluster.pid(self.region, self.node).is_some_and(|now| now != self.pid);
            Ok(restarted && demo.cluster.leader(self.region, DemoContext::shard()).await.is_ok())
        };
        DemoContext::poll_until("a leader and the killed node", RECOVERY_TIMEOUT, recovered).await.map(drop)
    }
}

/// Writes until `stop` is set; returns the time of each acknowledgement.
async fn run_writer(demo: &DemoContext, writer: usize, stop: &AtomicBool) -> Vec<Instant> {
    let mut random = SmallRng::seed_from_u64(writer as u64);
    let mut acknowledged = Vec::new();
    let first_new_id = demo.words.len() as u64 + 10_000;
    while !stop.load(Ordering::Relaxed) {
        let nth = random.random_range(0..2 * POINTS_PER_WRITER);
        // The sets of ids are disjoint: id modulo WRITERS is the writer.
        let id = if nth < POINTS_PER_WRITER { nth } else { first_new_id + nth } * WRITERS as u64 + writer as u64;
        let delete = random.random_ratio(1, 4);
        match demo.write(id, random.random_range(0..demo.words.len()), delete).await {
            Some(Outcome::Acknowledged) => acknowledged.push(Instant::now()),
            Some(_) => sleep(RETRY_DELAY).await,
            // The point is closed, or does not exist and cannot be deleted: try another.
            None => tokio::task::yield_now().await,
        }
    }
    acknowledged
}
