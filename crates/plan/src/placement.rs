//! The place where the pods of a group run, as far as membership decisions need it.

use meridian_model::{Link, ShardNumber};
use meridian_proto::topology::Genesis;

use crate::{ValidCluster, ValidLink};

/// The wanted groups and the place of their pods: on Kubernetes a [`ValidCluster`], on one machine the processes of
/// `meridian local`. Both share the decisions, so both allocate replica ids by the same rules.
pub trait Placement {
    /// Replicas of each shard.
    fn replicas(&self) -> u16;
    /// The identity that all replicas of a shard share.
    fn genesis(&self, shard: ShardNumber) -> Genesis;
    /// The replication group, which is part of every identity.
    fn group(&self) -> Option<String>;
    /// The links to other regions.
    fn links(&self) -> Vec<Link>;
    /// The name of a shard.
    fn shard_name(&self, shard: ShardNumber) -> String;
    /// The name of a pod.
    fn pod_name(&self, shard: ShardNumber, ordinal: u16) -> String;
    /// Address of a pod's peer port.
    fn peer_address(&self, shard: ShardNumber, ordinal: u16) -> String;
    /// The ordinal of the pod that an address of this shard names; `None` for an address of another form.
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
