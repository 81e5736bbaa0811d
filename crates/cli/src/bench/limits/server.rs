//! A region of one replica, measured from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::client::{ApiRequest, RegionClient};
use crate::local::{Brokers, Layout, LocalCluster, Options, RegionSpec, node_binary};

/// Clock ticks per second in `/proc/<pid>/stat`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The region; [`Server::stop`] stops it and removes its folder.
pub struct Server {
    cluster: LocalCluster,
    /// Client of its API.
    pub region: RegionClient,
    /// Base URL of its API.
    pub url: String,
    /// Its API key.
    pub key: String,
    pid: u32,
    group: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts the region.
    ///
    /// # Errors
    /// When the region does not become ready.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(tempfile::tempdir().context("a folder")?, None).await
    }

    /// Starts the region in a control group with a memory limit of `bytes`.
    ///
    /// # Errors
    /// When the region does not become ready or the control group cannot be created.
    pub async fn start_within(bytes: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder")?;
        let group = control_group(bytes)?;
        let script = node_wrapper(dir.path(), &format!("echo $$ >{}/cgroup.procs && exec", group.display()))?;
        let mut server = Self::start_with(dir, Some(script)).await?;
        server.group = Some(group);
        Ok(server)
    }

    /// Starts the region on processor 1 only, and moves this process to processor 0.
    ///
    /// # Errors
    /// When the region does not become ready, with fewer than two processors, or without `taskset`.
    pub async fn start_pinned() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder")?;
        let script = pin_to_processors(dir.path())?;
        Self::start_with(dir, Some(script)).await
    }

    async fn start_with(dir: tempfile::TempDir, binary: Option<PathBuf>) -> anyhow::Result<Self> {
        let spec: RegionSpec = "bench:1x1".parse().context("a region")?;
        let layout = Layout::open(dir.path(), &[spec], &mut rand::rng())?;
        let options = Options { binary, restart: false, brokers: Brokers::default(), proxies: Vec::new() };
        let cluster = LocalCluster::start(layout, &options, std::future::pending()).await?;
        let region = cluster.layout().primary();
        let (url, key) = (region.nodes[0].api_url(), region.api_key.clone());
        let pid = cluster.pid(0, 0).context("the node runs")?;
        let region = RegionClient::new(vec![url.clone()], Some(key.clone()))?;
        Ok(Self { cluster, region, url, key, pid, group: None, _dir: dir })
    }

    /// Creates a collection with one unnamed vector of `dim` numbers.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn create(&self, name: &str, dim: usize) -> anyhow::Result<()> {
        let body = serde_json::json!({"vectors": {"size": dim, "distance": "Euclid"}});
        self.region.send(0, ApiRequest::put(&format!("/collections/{name}"), &body)).await?.error_for_status().map(drop)
    }

    /// Upserts points.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn upsert(&self, name: &str, points: Vec<Value>) -> anyhow::Result<()> {
        let body = serde_json::json!({"points": points});
        self.region
            .send(0, ApiRequest::put(&format!("/collections/{name}/points"), &body))
            .await?
            .error_for_status()
            .map(drop)
    }

    /// Processor time used by the process so far, in ticks of 10 ms.
    ///
    /// # Errors
    /// When the process has exited.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.pid)
    }

    /// Waits until it has nothing to do: until all points are merged into the graph.
    ///
    /// # Errors
    /// When the process has exited.
    pub async fn idle(&self) -> anyhow::Result<()> {
        idle(self.pid).await
    }

    /// Processor time used by its current threads, in nanoseconds.
    ///
    /// # Errors
    /// When the process has exited, or the kernel has no schedstat.
    pub fn thread_cpu_time(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may have exited.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let nanos = stat.split_whitespace().next().context("no statistics of threads")?;
            sum += Duration::from_nanos(nanos.parse()?);
        }
        Ok(sum)
    }

    /// Resident bytes now, and the peak since [`Self::reset_peak`].
    ///
    /// # Errors
    /// When the process has exited.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let of = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Ok((of("VmRSS:").context("VmRSS")?, of("VmHWM:").context("VmHWM")?))
    }

    /// Resets the peak of resident memory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn reset_peak(&self) -> anyhow::Result<()> {
        std::fs::write(Path::new("/proc").join(self.pid.to_string()).join("clear_refs"), "5").context("clear_refs")
    }

    /// Stops the region.
    pub async fn stop(self) {
        self.cluster.stop().await;
        // The group is empty now; a leftover is harmless.
        let _ = self.group.map(std::fs::remove_dir);
    }
}

/// Moves this process to processor 0; returns a program that starts the node on processor 1. A node counts processors
/// at its start.
///
/// # Errors
/// With fewer than two processors or without `taskset`.
pub(super) fn pin_to_processors(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut command = std::process::Command::new("taskset");
    let done =
        command.args(["-a", "-c", "-p", "0", &std::process::id().to_string()]).output().context("run taskset")?;
    ensure!(done.status.success(), "taskset: {}", String::from_utf8_lossy(&done.stderr));
    node_wrapper(dir, "exec taskset -c 1")
}

/// Creates a shell script that starts the node behind a command prefix.
fn node_wrapper(dir: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let (script, node) = (dir.join("node"), node_binary()?);
    std::fs::write(&script, format!("#!/bin/sh\n{prefix} {} \"$@\"\n", node.display()))?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(script)
}

/// Creates a control group (version 1 or 2) with a memory limit of `bytes`.
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
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("a name")?.1;
    // utime and stime, fields 14 and 15; the first two are before the parenthesis.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// Waits until a process uses less than 5 % of a processor over one second.
///
/// # Errors
/// When the process has exited.
pub(super) async fn idle(pid: u32) -> anyhow::Result<()> {
    loop {
        let before = cpu_time(pid)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu_time(pid)? - before < Duration::from_millis(50) {
            return Ok(());
        }
    }
}
