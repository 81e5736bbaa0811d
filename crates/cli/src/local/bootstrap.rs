//! From blank nodes to groups that answer: the calls that an operator makes.

use std::time::Duration;

use anyhow::{Context, bail};
use meridian_model::{Link, RegionName, ShardNumber};
use meridian_peer::{PeerTls, call_topology};
use meridian_wire::frame::Hello;
use meridian_wire::topology::{PodStatus, ReplicaStatus, Role, TopologyAnswer, TopologyCall};
use tokio::time::{Instant, sleep};

use super::brokers::Brokers;
use super::files;
use super::layout::{Layout, NodeLayout, RegionLayout};

/// One call; a node that listens answers at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes topology calls in one region.
pub struct Caller {
    tls: PeerTls,
    hello: Hello,
}

impl Caller {
    /// With the operator's certificate of the region.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(layout: &Layout, region: &RegionLayout) -> anyhow::Result<Self> {
        let paths = files::operator_tls(layout, region);
        let tls = PeerTls::from_files(&paths.ca, &paths.cert, &paths.key)?;
        let (cluster, region) = (region.cluster_id.0, region.name.clone());
        Ok(Self { tls, hello: Hello { cluster, region, node: None, address: String::new() } })
    }

    async fn call(&self, node: &NodeLayout, call: TopologyCall) -> anyhow::Result<TopologyAnswer> {
        Ok(call_topology(&self.tls, &self.hello, &node.peer_address(), call, PATIENCE).await?)
    }

    /// What the node is; a running replica tells of itself.
    ///
    /// # Errors
    /// When it cannot be reached, is blank, or is damaged.
    pub async fn status(&self, node: &NodeLayout) -> anyhow::Result<ReplicaStatus> {
        match self.call(node, TopologyCall::Status).await? {
            TopologyAnswer::Status(PodStatus::Running(status)) => Ok(*status),
            TopologyAnswer::Status(PodStatus::Damaged { reason, .. }) => bail!("damaged: {reason}"),
            other => bail!("not a replica yet: {other:?}"),
        }
    }

    /// Founds the node's group on it, unless it is a replica already.
    async fn found(&self, region: &RegionLayout, node: &NodeLayout, primary: &RegionName) -> anyhow::Result<()> {
        if let TopologyAnswer::Status(PodStatus::Running(_)) = self.call(node, TopologyCall::Status).await? {
            return Ok(());
        }
        match self.call(node, TopologyCall::Bootstrap(region.identity(node, primary))).await? {
            TopologyAnswer::Done { .. } | TopologyAnswer::Started => Ok(()),
            other => bail!("{other:?}"),
        }
    }

    /// The node that leads a shard, by its place in the region, and what it says of itself.
    ///
    /// # Errors
    /// When no node says that it leads.
    pub async fn leader(&self, region: &RegionLayout, shard: ShardNumber) -> anyhow::Result<(usize, ReplicaStatus)> {
        for (at, node) in region.nodes.iter().enumerate().filter(|(_, node)| node.shard == shard) {
            if let Ok(status) = self.status(node).await
                && status.role == Role::Leader
            {
                return Ok((at, status));
            }
        }
        bail!("no leader in shard {shard} of {}", region.name)
    }

    /// Tells a shard whom to follow, unless it does.
    async fn set_links(&self, region: &RegionLayout, shard: ShardNumber, links: &[Link]) -> anyhow::Result<()> {
        let (leader, status) = self.leader(region, shard).await?;
        let call = TopologyCall::SetLinks { links: links.to_vec(), expected: status.links_version };
        match self.call(&region.nodes[leader], call).await? {
            TopologyAnswer::Done { .. } => Ok(()),
            other => bail!("{other:?}"),
        }
    }
}

/// Founds all groups of a region, waits until every replica is ready and follows a leader, and tells the leaders whom to
/// follow.
///
/// # Errors
/// When that is not so at `until`; says what was last seen.
pub async fn bootstrap(
    layout: &Layout,
    region: &RegionLayout,
    brokers: &Brokers,
    until: Instant,
) -> anyhow::Result<()> {
    let caller = Caller::new(layout, region)?;
    let primary = &layout.primary().name;
    for node in &region.nodes {
        let name = region.node_name(node);
        patiently(until, || caller.found(region, node, primary)).await.with_context(|| format!("bootstrap {name}"))?;
    }
    let ready = async |node: &NodeLayout| {
        let status = caller.status(node).await?;
        match status.fault {
            Some(fault) => bail!("out of service: {fault}"),
            None if status.leader.is_none() => bail!("no leader"),
            None if !status.ready => bail!("not ready"),
            None => Ok(()),
        }
    };
    for node in &region.nodes {
        let name = region.node_name(node);
        patiently(until, || ready(node)).await.with_context(|| format!("wait for {name}"))?;
    }
    let links = brokers.links(primary, &region.name);
    for shard in ShardNumber::all(region.shards) {
        let told = patiently(until, || caller.set_links(region, shard, &links)).await;
        told.with_context(|| format!("tell shard {shard} of {} whom to follow", region.name))?;
    }
    Ok(())
}

async fn patiently<T, R: Future<Output = anyhow::Result<T>>>(until: Instant, act: impl Fn() -> R) -> anyhow::Result<T> {
    loop {
        match act().await {
            Err(fault) if Instant::now() >= until => return Err(fault),
            Err(_) => sleep(PAUSE).await,
            done => return done,
        }
    }
}
