//! One node's process: started, started again when it dies, stopped.

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

/// A node that died is started again after this, as a kubelet would soon.
const RESTART: Duration = Duration::from_millis(300);
/// How long a node gets to hand over and end; more than its own limit for that.
const STOP: Duration = Duration::from_secs(12);
/// Threads that search, of each node, where there are as many processors.
const SEARCH_THREADS: usize = 2;

/// A node that died was started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// Its region.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
    /// Its replica id.
    pub replica: ReplicaId,
    /// Its new process.
    pub pid: u32,
}

/// How to start a node, and what to do when it ends.
pub struct Program {
    /// `meridian-node`.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where its peers find it.
    pub advertise: String,
    /// Where its output goes.
    pub log: PathBuf,
    /// Which node it is.
    pub region: RegionName,
    /// Which node it is.
    pub shard: ShardNumber,
    /// Which node it is.
    pub replica: ReplicaId,
    /// Whether it is started again when it dies.
    pub restart: bool,
}

/// The process id now; `None` between two lives.
pub type PidNow = watch::Receiver<Option<u32>>;

impl Program {
    /// Starts the process and keeps it; the task ends when `stop` is cancelled and the process is gone.
    ///
    /// # Errors
    /// When it cannot be started even once.
    pub fn start(
        self,
        restarts: mpsc::UnboundedSender<Restart>,
        stop: CancellationToken,
    ) -> anyhow::Result<(PidNow, tokio::task::JoinHandle<()>)> {
        let child = self.spawn()?;
        let (pid, seen) = watch::channel(child.id());
        Ok((seen, tokio::spawn(self.keep(child, pid, restarts, stop))))
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open {}", self.log.display()))?;
        // They share the machine.
        let threads = std::thread::available_parallelism()?.get().min(SEARCH_THREADS).to_string();
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(&self.config)
            .args(["--advertise", &self.advertise, "--search-threads", &threads])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("log file")?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches us, and we stop the nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().with_context(|| format!("start {}", self.binary.display()))
    }

    async fn keep(
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
                if stop.run_until_cancelled(tokio::time::sleep(RESTART)).await.is_none() {
                    return;
                }
                if let Ok(child) = self.spawn() {
                    break child;
                }
            };
            pid.send_replace(child.id());
            if let Some(pid) = child.id() {
                let (region, shard, replica) = (self.region.clone(), self.shard, self.replica);
                // Nobody listening is no reason to stop.
                let _ = restarts.send(Restart { region, shard, replica, pid });
            }
        }
        if let Some(id) = child.id() {
            // It may have ended just now; then the wait tells.
            let _ = send_signal(id, Signal::TERM);
        }
        if tokio::time::timeout(STOP, child.wait()).await.is_err() {
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
