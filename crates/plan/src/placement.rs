//! What the decisions about a group's members need to know of the place where its pods run.

use meridian_model::{Link, ShardNumber};
use meridian_proto::topology::Genesis;

use crate::{ValidCluster, ValidLink};

/// The groups as they shall be, and where their pods run: on Kubernetes a [`ValidCluster`], on one machine the processes of
/// `meridian local`. Both use the same decisions, so both allocate replica ids by the same rules.
pub trait Placement {
    /// Replicas of each shard.
    fn replicas(&self) -> u16;
    /// What every replica of a shard is initialized with.
    fn genesis(&self, shard: ShardNumber) -> Genesis;
    /// The replication group of regions, which stands in every identity that is made.
    fn group(&self) -> Option<String>;
    /// Which regions are followed.
    fn links(&self) -> Vec<Link>;
    /// What a shard is called.
    fn shard_name(&self, shard: ShardNumber) -> String;
    /// What a pod is called.
    fn pod_name(&self, shard: ShardNumber, ordinal: u16) -> String;
    /// Where the peer port of a pod is reached.
    fn peer_address(&self, shard: ShardNumber, ordinal: u16) -> String;
    /// The ordinal of the pod that an address of this shard names; none for an address of another shape.
    fn ordinal_of(&self, shard: ShardNumber, address: &str) -> Option<u16>;
}

impl Placement for ValidCluster {
    fn replicas(&self) -> u16 {
        self.replicas
    }

    fn genesis(&self, shard: ShardNumber) -> Genesis {
        self.genesis(shard)
    }

    fn group(&self) -> Option<String> {
        self.group.as_ref().map(|group| group.name.clone())
    }

    fn links(&self) -> Vec<Link> {
        self.links.iter().map(ValidLink::order).collect()
    }

    fn shard_name(&self, shard: ShardNumber) -> String {
        self.shard_name(shard)
    }

    fn pod_name(&self, shard: ShardNumber, ordinal: u16) -> String {
        self.pod_name(shard, ordinal)
    }

    fn peer_address(&self, shard: ShardNumber, ordinal: u16) -> String {
        self.peer_address(shard, ordinal)
    }

    fn ordinal_of(&self, shard: ShardNumber, address: &str) -> Option<u16> {
        self.ordinal_of(shard, address)
    }
}
