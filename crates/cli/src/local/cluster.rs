//! Runs the regions of a layout.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use meridian_model::RegionName;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::allocator::Allocator;
use super::brokers::{Brokers, ProxySpec};
use super::files;
use super::layout::{Layout, NodeLayout, RegionLayout};
use super::process::{NodeProcess, PidWatch, Restart};
use super::tcp_proxy::TcpProxy;
use super::topology_client::TopologyClient;

/// Timeout from the first process start until all replicas are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How to run a layout.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path of `meridian-node`; `None`: `$MERIDIAN_NODE`, else the one next to this binary.
    pub binary: Option<PathBuf>,
    /// Whether nodes are restarted after an exit.
    pub restart: bool,
    /// Kafka brokers of the regions.
    pub brokers: Brokers,
    /// Additional proxies that are cut together with their region.
    pub proxies: Vec<ProxySpec>,
}

/// Regions running as processes.
pub struct LocalCluster {
    layout: Layout,
    /// By region, then node, in layout order.
    pids: Vec<Vec<PidWatch>>,
    /// Proxies into each region.
    proxies: Vec<(RegionName, TcpProxy)>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    restarts: mpsc::UnboundedReceiver<Restart>,
}

impl LocalCluster {
    /// Starts all processes and waits until every replica is ready. On failure, or when `abort` resolves first,
    /// everything is stopped.
    ///
    /// # Errors
    /// When a process cannot be started, or the regions are not ready within 60 s; names the node and the log folder.
    pub async fn start(layout: Layout, options: &Options, abort: impl Future<Output = ()>) -> anyhow::Result<Self> {
        files::write(&layout, &options.brokers)?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => node_binary()?,
        };
        let stop = CancellationToken::new();
        let (restart_sender, restarts) = mpsc::unbounded_channel();
        let mut cluster = Self { layout, pids: Vec::new(), proxies: Vec::new(), tasks: Vec::new(), stop, restarts };
        let started = tokio::select! {
            started = cluster.start_processes(binary, options, restart_sender) => started,
            () = abort => Err(anyhow::anyhow!("stopped while starting")),
        };
        match started {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.stop().await;
                Err(error)
            }
        }
    }

    async fn start_processes(
        &mut self,
        binary: PathBuf,
        options: &Options,
        restart_sender: mpsc::UnboundedSender<Restart>,
    ) -> anyhow::Result<()> {
        for ProxySpec { region, from, to } in &options.proxies {
            self.proxies.push((region.clone(), TcpProxy::listen(*from, vec![*to], self.stop.clone()).await?));
        }
        for region in &self.layout.regions {
            let peers = region.nodes.iter().map(|node| node.peer).collect();
            self.proxies
                .push((region.name.clone(), TcpProxy::listen(region.endpoint, peers, self.stop.clone()).await?));
            let mut pids = Vec::new();
            for node in &region.nodes {
                let process = NodeProcess {
                    binary: binary.clone(),
                    config: files::config_path(&self.layout, region, node),
                    advertise: node.peer_address(),
                    log: self.layout.dir.join(format!("{}.log", region.node_name(node))),
                    region: region.name.clone(),
                    shard: node.shard,
                    replica: node.replica,
                    restart: options.restart,
                };
                let (pid, task) = process.start(restart_sender.clone(), self.stop.clone())?;
                pids.push(pid);
                self.tasks.push(task);
            }
            self.pids.push(pids);
        }
        let deadline = Instant::now() + READY_TIMEOUT;
        let regions = self.layout.regions.iter();
        let allocators = regions.map(|region| Allocator::open(&self.layout, region, &options.brokers));
        let mut allocators: Vec<Allocator> = allocators.collect::<anyhow::Result<_>>()?;
        let ready =
            try_join_all(allocators.iter_mut().map(|allocator| allocator.reconcile_until_settled(deadline))).await;
        ready.with_context(|| format!("logs are in {}", self.layout.dir.display()))?;
        let run = |allocator: Allocator| tokio::spawn(allocator.run(self.stop.clone()));
        let reconcilers: Vec<_> = allocators.into_iter().map(run).collect();
        self.tasks.extend(reconcilers);
        Ok(())
    }

    /// The running layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Process id of a node; `None` while it is down. `region` and `node` are indices in the layout.
    #[must_use]
    pub fn pid(&self, region: usize, node: usize) -> Option<u32> {
        *self.pids.get(region)?.get(node)?.borrow()
    }

    /// Watches the process id of a node.
    #[must_use]
    pub fn watch_pid(&self, region: usize, node: usize) -> Option<PidWatch> {
        self.pids.get(region)?.get(node).cloned()
    }

    /// Cuts all network paths between a region and the others.
    pub fn cut(&self, region: &RegionName) {
        self.proxies_of(region).for_each(TcpProxy::cut);
    }

    /// Restores the paths that [`LocalCluster::cut`] cut.
    pub fn heal(&self, region: &RegionName) {
        self.proxies_of(region).for_each(TcpProxy::heal);
    }

    fn proxies_of(&self, region: &RegionName) -> impl Iterator<Item = &TcpProxy> {
        self.proxies.iter().filter(move |(to, _)| to == region).map(|(_, proxy)| proxy)
    }

    /// Index of the node that leads a shard of the region with index `region`.
    ///
    /// # Errors
    /// When no node reports to be the leader.
    pub async fn leader(&self, region: usize, shard: meridian_model::ShardNumber) -> anyhow::Result<usize> {
        let region = self.layout.regions.get(region).context("no such region")?;
        let (leader, _) = TopologyClient::new(&self.layout, region)?.leader(region, shard).await?;
        Ok(leader)
    }

    /// The next restart of a node; pending until there is one.
    pub async fn next_restart(&mut self) -> Restart {
        match self.restarts.recv().await {
            Some(restart) => restart,
            None => std::future::pending().await,
        }
    }

    /// JSON with the addresses, keys and process ids of all nodes.
    #[must_use]
    pub fn report(&self) -> Value {
        let node = |region: &RegionLayout, node: &NodeLayout, pid: &PidWatch| {
            json!({
                "name": region.node_name(node),
                "shard": node.shard.number(),
                "replica": node.replica.0,
                "pid": *pid.borrow(),
                "api": node.api_url(),
                "admin": node.admin_url(),
                "peer": node.peer_address(),
                "config": files::config_path(&self.layout, region, node),
            })
        };
        let regions = self.layout.regions.iter().zip(&self.pids).map(|(region, pids)| {
            let nodes: Vec<Value> = region.nodes.iter().zip(pids).map(|(n, pid)| node(region, n, pid)).collect();
            json!({"name": region.name.as_str(), "api_key": region.api_key, "nodes": nodes})
        });
        json!({"dir": self.layout.dir, "regions": regions.collect::<Vec<_>>()})
    }

    /// Stops all processes and waits for their exit.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A panicked task has dropped its child, which kills the process.
            let _ = task.await;
        }
    }
}

/// Path of the node binary: `MERIDIAN_NODE`, else the one next to this binary.
///
/// # Errors
/// When the file does not exist.
pub fn node_binary() -> anyhow::Result<PathBuf> {
    if let Some(binary) = std::env::var_os("MERIDIAN_NODE") {
        return Ok(binary.into());
    }
    let own_path = std::env::current_exe().context("where this program is")?;
    let binary = own_path.with_file_name("meridian-node");
    anyhow::ensure!(binary.exists(), "{} does not exist: build it, or set MERIDIAN_NODE", binary.display());
    Ok(binary)
}
