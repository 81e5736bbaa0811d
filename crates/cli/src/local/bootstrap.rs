//! From blank nodes to groups that answer: the calls that an operator makes.

use std::time::Duration;

use anyhow::{Context, bail};
use meridian_model::RegionName;
use meridian_peer::{PeerTls, call_topology};
use meridian_wire::frame::Hello;
use meridian_wire::topology::{PodStatus, ReplicaStatus, TopologyAnswer, TopologyCall};
use tokio::time::{Instant, sleep};

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
}

/// Founds all groups of a region, and waits until every replica is ready and follows a leader.
///
/// # Errors
/// When that is not so at `until`; says what was last seen.
pub async fn bootstrap(layout: &Layout, region: &RegionLayout, until: Instant) -> anyhow::Result<()> {
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
