//! Topology calls on the nodes of one region, as the operator makes them.

use std::time::Duration;

use anyhow::bail;
use meridian_model::ShardNumber;
use meridian_peer::{PeerTls, call_topology};
use meridian_proto::frame::{Build, Hello};
use meridian_proto::topology::{PodStatus, ReplicaStatus, Role, TopologyAnswer, TopologyCall};

use super::files;
use super::layout::{Layout, NodeLayout, RegionLayout};

/// One call; a node that listens answers at once.
const PATIENCE: Duration = Duration::from_secs(3);

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
        let tls = PeerTls::from_files(&paths.ca_file, &paths.cert_file, &paths.key_file)?;
        let (cluster, region) = (region.cluster_id.0, region.name.clone());
        let build = Build::current();
        Ok(Self { tls, hello: Hello { cluster, region, node: None, address: String::new(), build } })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// When the node cannot be reached or does not answer in time.
    pub async fn call(&self, node: &NodeLayout, call: TopologyCall) -> anyhow::Result<TopologyAnswer> {
        Ok(call_topology(&self.tls, &self.hello, &node.peer_address(), call, PATIENCE).await?)
    }

    /// What the node is; nothing while it does not answer.
    pub async fn pod(&self, node: &NodeLayout) -> Option<PodStatus> {
        match self.call(node, TopologyCall::Status).await {
            Ok(TopologyAnswer::Status { pod, .. }) => Some(pod),
            _ => None,
        }
    }

    /// The node that leads a shard, by its place in the region, and what it says of itself.
    ///
    /// # Errors
    /// When no node says that it leads.
    pub async fn leader(&self, region: &RegionLayout, shard: ShardNumber) -> anyhow::Result<(usize, ReplicaStatus)> {
        for (at, node) in region.nodes.iter().enumerate().filter(|(_, node)| node.shard == shard) {
            if let Some(PodStatus::Running(status)) = self.pod(node).await
                && status.role == Role::Leader
            {
                return Ok((at, *status));
            }
        }
        bail!("no leader in shard {shard} of {}", region.name)
    }
}
