//! Topology calls to the nodes of one region, as the operator makes them.

use std::time::Duration;

use anyhow::bail;
use meridian_model::{BehaviorVersion, ShardNumber};
use meridian_peer::{PeerTls, call_topology};
use meridian_proto::frame::{Build, Hello};
use meridian_proto::topology::{PodStatus, ReplicaStatus, Role, TopologyAnswer, TopologyCall};

use super::files;
use super::layout::{Layout, NodeLayout, RegionLayout};

/// Timeout of one call; a node that listens answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Client for the topology calls of one region.
pub struct TopologyClient {
    tls: PeerTls,
    hello: Hello,
}

impl TopologyClient {
    /// Loads the operator's certificate of the region.
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
    /// When the node cannot be reached or does not answer within the timeout.
    pub async fn call(&self, node: &NodeLayout, call: TopologyCall) -> anyhow::Result<TopologyAnswer> {
        Ok(call_topology(&self.tls, &self.hello, &node.peer_address(), call, CALL_TIMEOUT).await?)
    }

    /// Status of the node; `None` while it does not answer.
    pub async fn pod_status(&self, node: &NodeLayout) -> Option<PodStatus> {
        self.pod_report(node).await.map(|(pod, _)| pod)
    }

    /// Status of the node and the newest behavior version that it knows; `None` while it does not answer.
    pub async fn pod_report(&self, node: &NodeLayout) -> Option<(PodStatus, BehaviorVersion)> {
        match self.call(node, TopologyCall::Status).await {
            Ok(TopologyAnswer::Status { pod, build, .. }) => {
                Some((pod, build.map_or(BehaviorVersion::FIRST, |build| build.behavior)))
            }
            _ => None,
        }
    }

    /// Index of the node that leads a shard, and its status.
    ///
    /// # Errors
    /// When no node reports to be the leader.
    pub async fn leader(&self, region: &RegionLayout, shard: ShardNumber) -> anyhow::Result<(usize, ReplicaStatus)> {
        for (index, node) in region.nodes.iter().enumerate().filter(|(_, node)| node.shard == shard) {
            if let Some(PodStatus::Running(status)) = self.pod_status(node).await
                && status.role == Role::Leader
            {
                return Ok((index, *status));
            }
        }
        bail!("no leader in shard {shard} of {}", region.name)
    }
}
