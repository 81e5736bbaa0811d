//! Supervises one node process: start, restart after an exit, stop.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use meridian_model::{RegionName, ReplicaId, ShardNumber};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Delay before a restart.
const RESTART_DELAY: Duration = Duration::from_millis(300);
/// Time to transfer leadership and exit before SIGKILL; longer than `limits.shutdown_timeout_ms` of the node.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
/// Search threads per node, if the machine has as many processors.
const SEARCH_THREADS: usize = 2;

/// A restart of a node, as `meridian local` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// Its region.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
    /// Its replica id.
    pub replica: ReplicaId,
    /// Its new process id.
    pub pid: u32,
}

/// How to start and restart one node.
pub struct NodeProcess {
    /// `meridian-node`.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Address that it advertises to peers.
    pub advertise: String,
    /// File for stdout and stderr.
    pub log: PathBuf,
    /// Identifies the node in [`Restart`].
    pub region: RegionName,
    /// Identifies the node in [`Restart`].
    pub shard: ShardNumber,
    /// Identifies the node in [`Restart`].
    pub replica: ReplicaId,
    /// Whether to restart it after an exit.
    pub restart: bool,
}

/// Current process id; `None` between exit and restart.
pub type PidWatch = watch::Receiver<Option<u32>>;

impl NodeProcess {
    /// Starts the process and supervises it; the task ends when `stop` is cancelled and the process has exited.
    ///
    /// # Errors
    /// When the first start fails.
    pub fn start(
        self,
        restarts: mpsc::UnboundedSender<Restart>,
        stop: CancellationToken,
    ) -> anyhow::Result<(PidWatch, tokio::task::JoinHandle<()>)> {
        let child = self.spawn()?;
        let (pid, pid_watch) = watch::channel(child.id());
        Ok((pid_watch, tokio::spawn(self.supervise(child, pid, restarts, stop))))
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open {}", self.log.display()))?;
        // All nodes share this machine.
        let threads = std::thread::available_parallelism()?.get().min(SEARCH_THREADS).to_string();
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(&self.config)
            .args(["--advertise", &self.advertise, "--search-threads", &threads])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("log file")?)
            .stderr(log)
            // Its own process group: Ctrl-C reaches only this process, which stops the nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().with_context(|| format!("start {}", self.binary.display()))
    }

    async fn supervise(
        self,
        mut child: Child,
        pid: watch::Sender<Option<u32>>,
        restarts: mpsc::UnboundedSender<Restart>,
        stop: CancellationToken,
    ) {
        while stop.run_until_cancelled(child.wait()).await.is_some() {
            pid.send_replace(None);
            if !self.restart {
                return;
            }
            child = loop {
                if stop.run_until_cancelled(tokio::time::sleep(RESTART_DELAY)).await.is_none() {
                    return;
                }
                if let Ok(child) = self.spawn() {
                    break child;
                }
            };
            pid.send_replace(child.id());
            if let Some(pid) = child.id() {
                let (region, shard, replica) = (self.region.clone(), self.shard, self.replica);
                // A dropped receiver is not an error.
                let _ = restarts.send(Restart { region, shard, replica, pid });
            }
        }
        if let Some(id) = child.id() {
            // It may have exited already; the wait below handles both.
            let _ = send_signal(id, Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        pid.send_replace(None);
    }
}

/// Sends a signal to a process.
///
/// # Errors
/// When there is no such process.
pub fn send_signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, signal).context("signal")
}
