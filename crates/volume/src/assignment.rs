//! The replica that the configuration assigns to a pod.

use std::fmt;

use meridian_model::{ClusterId, RegionName, ShardNumber};
use meridian_proto::topology::Identity;

/// Cluster, region and shard of a pod, as its configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The cluster.
    pub cluster: ClusterId,
    /// The region.
    pub region: RegionName,
    /// The shard.
    pub shard: ShardNumber,
    /// Number of shards of the region.
    pub shards: u16,
    /// Name of the replication group, if the region is in one.
    pub group: Option<String>,
}

impl Assignment {
    /// Whether a volume of this identity may run in the pod. A volume without a group fits any: a region may enter a group
    /// after its volumes were initialized.
    #[must_use]
    pub fn fits(&self, identity: &Identity) -> bool {
        let genesis = &identity.genesis;
        genesis.cluster == self.cluster
            && genesis.region == self.region
            && genesis.shard == self.shard
            && genesis.shards == self.shards
            && (identity.group.is_none() || identity.group == self.group)
    }
}

/// In the words of an [`Identity`], without the replica.
impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, region, shard, shards, group } = self;
        write!(f, "cluster {cluster}, region {region}, shard {shard} of {shards}")?;
        group.as_ref().map_or(Ok(()), |group| write!(f, ", replication group {group}"))
    }
}
