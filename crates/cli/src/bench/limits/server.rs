//! A region of one replica that a topic measures from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::client::{Ask, Region};
use crate::local::{Brokers, Layout, Options, RegionSpec, Running, node_binary};

/// Clock ticks of `/proc/<pid>/stat` in a second, on every Linux that there is.
const TICKS: f64 = 100.0;

/// The region; stopped by [`Server::stop`], and its folder removed.
pub struct Server {
    running: Running,
    /// Its API.
    pub region: Region,
    /// Base URL of its API.
    pub url: String,
    /// The key that lets a client in.
    pub key: String,
    pid: u32,
    group: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start() -> anyhow::Result<Self> {
        Self::of(tempfile::tempdir().context("a folder")?, None).await
    }

    /// Starts it in a control group that may use so many bytes of memory.
    ///
    /// # Errors
    /// When it does not become ready, or no such group can be made.
    pub async fn start_within(bytes: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder")?;
        let group = control_group(bytes)?;
        let script = node_behind(dir.path(), &format!("echo $$ >{}/cgroup.procs && exec", group.display()))?;
        let mut server = Self::of(dir, Some(script)).await?;
        server.group = Some(group);
        Ok(server)
    }

    /// Starts it on processor 1 alone, and moves this process to processor 0.
    ///
    /// # Errors
    /// When it does not become ready, or where there are fewer than two processors, or no `taskset`.
    pub async fn start_on_its_own_processor() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder")?;
        let script = on_its_own_processor(dir.path())?;
        Self::of(dir, Some(script)).await
    }

    async fn of(dir: tempfile::TempDir, binary: Option<PathBuf>) -> anyhow::Result<Self> {
        let spec: RegionSpec = "bench:1x1".parse().context("a region")?;
        let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
        let options = Options { binary, restart: false, brokers: Brokers::default(), wires: Vec::new() };
        let running = Running::start(layout, &options, std::future::pending()).await?;
        let region = running.layout().primary();
        let (url, key) = (region.nodes[0].api_url(), region.api_key.clone());
        let pid = running.pid(0, 0).context("the node runs")?;
        let region = Region::new(vec![url.clone()], Some(key.clone()))?;
        Ok(Self { running, region, url, key, pid, group: None, _dir: dir })
    }

    /// Creates a collection of one vector.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create(&self, name: &str, dim: usize) -> anyhow::Result<()> {
        let body = serde_json::json!({"vectors": {"size": dim, "distance": "Euclid"}});
        self.region.ask(0, Ask::put(&format!("/collections/{name}"), &body)).await?.fine().map(drop)
    }

    /// Puts points into a collection.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn upsert(&self, name: &str, points: Vec<Value>) -> anyhow::Result<()> {
        let body = serde_json::json!({"points": points});
        self.region.ask(0, Ask::put(&format!("/collections/{name}/points"), &body)).await?.fine().map(drop)
    }

    /// Processor time that it has used.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        processor_time(self.pid)
    }

    /// Waits until it has nothing to do: until all points are merged into the graph.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn idle(&self) -> anyhow::Result<()> {
        idle(self.pid).await
    }

    /// Processor time that its threads of now have used, to the nanosecond.
    ///
    /// # Errors
    /// When it is gone, or the kernel keeps no such statistics.
    pub fn processor_time_of_threads(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end meanwhile.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let nanos = stat.split_whitespace().next().context("no statistics of threads")?;
            sum += Duration::from_nanos(nanos.parse()?);
        }
        Ok(sum)
    }

    /// Bytes that it holds in memory now, and the most since [`Self::forget_peak`].
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let of = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Ok((of("VmRSS:").context("VmRSS")?, of("VmHWM:").context("VmHWM")?))
    }

    /// Counts the most memory from now on.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        std::fs::write(Path::new("/proc").join(self.pid.to_string()).join("clear_refs"), "5").context("clear_refs")
    }

    /// Stops it.
    pub async fn stop(self) {
        self.running.stop().await;
        // It is empty now; one that stays is in nobody's way.
        let _ = self.group.map(std::fs::remove_dir);
    }
}

/// Moves this process to processor 0; a program that starts the node on processor 1. A node counts its processors when it starts.
///
/// # Errors
/// Where there are fewer than two, or no `taskset`.
pub(super) fn on_its_own_processor(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut command = std::process::Command::new("taskset");
    let done =
        command.args(["-a", "-c", "-p", "0", &std::process::id().to_string()]).output().context("run taskset")?;
    ensure!(done.status.success(), "taskset: {}", String::from_utf8_lossy(&done.stderr));
    node_behind(dir, "exec taskset -c 1")
}

/// A program that starts the node by `sh`, with these words before it.
fn node_behind(dir: &Path, words: &str) -> anyhow::Result<PathBuf> {
    let (script, node) = (dir.join("node"), node_binary()?);
    std::fs::write(&script, format!("#!/bin/sh\n{words} {} \"$@\"\n", node.display()))?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(script)
}

/// Makes a control group, of version 1 or 2, that may use so many bytes of memory.
fn control_group(bytes: u64) -> anyhow::Result<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let name = format!("meridian-bench-{}", std::process::id());
    let (group, file) = match root.join("memory") {
        memory if memory.is_dir() => (memory.join(name), "memory.limit_in_bytes"),
        _ => (root.join(name), "memory.max"),
    };
    std::fs::create_dir(&group).with_context(|| format!("make the control group {}", group.display()))?;
    std::fs::write(group.join(file), bytes.to_string()).with_context(|| format!("limit {}", group.display()))?;
    Ok(group)
}

/// Processor time that a process has used.
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("a name")?.1;
    // Fields 14 and 15 of the line; two stand before the parenthesis.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// Waits until a process uses less than 5 % of a processor over one second.
///
/// # Errors
/// When it is gone.
pub(super) async fn idle(pid: u32) -> anyhow::Result<()> {
    loop {
        let before = processor_time(pid)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if processor_time(pid)? - before < Duration::from_millis(50) {
            return Ok(());
        }
    }
}
