//! A layout that runs.

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
use super::brokers::{Brokers, WireSpec};
use super::caller::Caller;
use super::files;
use super::layout::{Layout, NodeLayout, RegionLayout};
use super::link::Link;
use super::process::{PidNow, Program, Restart};

/// From the first process to the last ready replica.
const READY: Duration = Duration::from_secs(60);

/// How to run a layout.
#[derive(Debug, Clone)]
pub struct Options {
    /// `meridian-node`; absent: `$MERIDIAN_NODE`, else the one beside this program.
    pub binary: Option<PathBuf>,
    /// Whether nodes that die are started again.
    pub restart: bool,
    /// Brokers beside the regions.
    pub brokers: Brokers,
    /// Further ways into regions that are cut with them.
    pub wires: Vec<WireSpec>,
}

/// Regions that run as processes.
pub struct Running {
    layout: Layout,
    /// In the order of the layout: region, then node.
    pids: Vec<Vec<PidNow>>,
    /// The ways into each region from outside.
    links: Vec<(RegionName, Link)>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    restarts: mpsc::UnboundedReceiver<Restart>,
}

impl Running {
    /// Starts everything and waits until every replica is ready. What was started is stopped again on failure, and when
    /// `abort` resolves before.
    ///
    /// # Errors
    /// When a process cannot be started, or the regions are not ready within a minute; names the node and its log.
    pub async fn start(layout: Layout, options: &Options, abort: impl Future<Output = ()>) -> anyhow::Result<Self> {
        files::write(&layout, &options.brokers)?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => node_binary()?,
        };
        let stop = CancellationToken::new();
        let (told, restarts) = mpsc::unbounded_channel();
        let mut running = Self { layout, pids: Vec::new(), links: Vec::new(), tasks: Vec::new(), stop, restarts };
        let begun = tokio::select! {
            begun = running.begin(binary, options, told) => begun,
            () = abort => Err(anyhow::anyhow!("stopped while starting")),
        };
        match begun {
            Ok(()) => Ok(running),
            Err(fault) => {
                running.stop().await;
                Err(fault)
            }
        }
    }

    async fn begin(
        &mut self,
        binary: PathBuf,
        options: &Options,
        told: mpsc::UnboundedSender<Restart>,
    ) -> anyhow::Result<()> {
        for WireSpec { region, from, to } in &options.wires {
            self.links.push((region.clone(), Link::listen(*from, vec![*to], self.stop.clone()).await?));
        }
        for region in &self.layout.regions {
            let peers = region.nodes.iter().map(|node| node.peer).collect();
            self.links.push((region.name.clone(), Link::listen(region.endpoint, peers, self.stop.clone()).await?));
            let mut pids = Vec::new();
            for node in &region.nodes {
                let program = Program {
                    binary: binary.clone(),
                    config: files::config_path(&self.layout, region, node),
                    advertise: node.peer_address(),
                    log: self.layout.dir.join(format!("{}.log", region.node_name(node))),
                    region: region.name.clone(),
                    shard: node.shard,
                    replica: node.replica,
                    restart: options.restart,
                };
                let (pid, task) = program.start(told.clone(), self.stop.clone())?;
                pids.push(pid);
                self.tasks.push(task);
            }
            self.pids.push(pids);
        }
        let until = Instant::now() + READY;
        let regions = self.layout.regions.iter();
        let allocators = regions.map(|region| Allocator::open(&self.layout, region, &options.brokers));
        let mut allocators: Vec<Allocator> = allocators.collect::<anyhow::Result<_>>()?;
        let ready = try_join_all(allocators.iter_mut().map(|allocator| allocator.settle(until))).await;
        ready.with_context(|| format!("logs are in {}", self.layout.dir.display()))?;
        let keep = |allocator: Allocator| tokio::spawn(allocator.keep(self.stop.clone()));
        let kept: Vec<_> = allocators.into_iter().map(keep).collect();
        self.tasks.extend(kept);
        Ok(())
    }

    /// What runs where.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The process id of a node now; `None` while it is down. `region` and `node` count in the layout's order.
    #[must_use]
    pub fn pid(&self, region: usize, node: usize) -> Option<u32> {
        *self.pids.get(region)?.get(node)?.borrow()
    }

    /// A view on the process id of a node that outlives this borrow.
    #[must_use]
    pub fn pid_now(&self, region: usize, node: usize) -> Option<PidNow> {
        self.pids.get(region)?.get(node).cloned()
    }

    /// Cuts a region off from all others.
    pub fn cut(&self, region: &RegionName) {
        self.links_of(region).for_each(Link::cut);
    }

    /// Ends [`Running::cut`].
    pub fn heal(&self, region: &RegionName) {
        self.links_of(region).for_each(Link::heal);
    }

    fn links_of(&self, region: &RegionName) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |(to, _)| to == region).map(|(_, link)| link)
    }

    /// The node that leads a shard, by its place in the region.
    ///
    /// # Errors
    /// When no node says that it leads.
    pub async fn leader(&self, region: usize, shard: meridian_model::ShardNumber) -> anyhow::Result<usize> {
        let region = self.layout.regions.get(region).context("no such region")?;
        let (leader, _) = Caller::new(&self.layout, region)?.leader(region, shard).await?;
        Ok(leader)
    }

    /// The next node that was started again; pending while none is.
    pub async fn restarted(&mut self) -> Restart {
        match self.restarts.recv().await {
            Some(restart) => restart,
            None => std::future::pending().await,
        }
    }

    /// One line that tells tests all they need.
    #[must_use]
    pub fn report(&self) -> Value {
        let node = |region: &RegionLayout, node: &NodeLayout, pid: &PidNow| {
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

    /// Stops every process that was started, and waits until it is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has dropped its process, which kills it.
            let _ = task.await;
        }
    }
}

/// The program that nodes run: the one that `MERIDIAN_NODE` names, or that beside this one.
///
/// # Errors
/// When it is not there.
pub fn node_binary() -> anyhow::Result<PathBuf> {
    if let Some(binary) = std::env::var_os("MERIDIAN_NODE") {
        return Ok(binary.into());
    }
    let own = std::env::current_exe().context("where this program is")?;
    let binary = own.with_file_name("meridian-node");
    anyhow::ensure!(binary.exists(), "{} is not there: build it, or name one in MERIDIAN_NODE", binary.display());
    Ok(binary)
}
