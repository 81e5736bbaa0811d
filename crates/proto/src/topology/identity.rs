//! Replicas by identity: what a volume belongs to, and who the members of a group are.

use std::fmt;

use meridian_model::{BehaviorVersion, ClusterId, LogIndex, PrimaryTerm, RegionName, ReplicaId, ShardNumber};
use serde::{Deserialize, Serialize};

use crate::frame::NodeId;

/// Properties of a shard that are fixed when its group is founded. All replicas of a group have equal ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The `VectorCluster`.
    pub cluster: ClusterId,
    /// The region.
    pub region: RegionName,
    /// The shard.
    pub shard: ShardNumber,
    /// Number of shards of the region.
    pub shards: u16,
    /// The first primary region.
    pub primary: RegionName,
    /// The primary term of that.
    pub primary_term: PrimaryTerm,
}

/// A replica and the address of its peer port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub replica: ReplicaId,
    /// `host:port`.
    pub address: String,
}

/// Identity of a volume: written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The shard that it holds a replica of.
    pub genesis: Genesis,
    /// The id of that replica.
    pub replica: ReplicaId,
    /// The voters with which the group was founded; empty when this replica joined an existing group.
    pub founders: Vec<Member>,
    /// Name of the replication group that the volume was created for. A volume without one fits any: a group may be added
    /// later.
    pub group: Option<String>,
    /// Behavior version of the group at the first entry of its log: the newest that the allocator knew when the group was
    /// founded. A replay from the beginning applies the same rules.
    pub behavior: BehaviorVersion,
}

impl Identity {
    /// The replica among those of its region.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId { shard: self.genesis.shard, replica: self.replica }
    }
}

/// For messages: `cluster 0123…, region us-east, shard 1 of 2, replica 3`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Genesis { cluster, region, shard, shards, .. } = &self.genesis;
        write!(f, "cluster {cluster}, region {region}, shard {shard} of {shards}, replica {}", self.replica)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ", replication group {group}"))
    }
}

/// Digest of all keys that a pod accepts. It is compared, and shown neither in logs nor in a status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeysDigest(pub [u8; 32]);

impl fmt::Debug for KeysDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysDigest(..)")
    }
}

/// The members of a group after the log up to `applied`. They are final, because applied entries are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersAt {
    /// Newest entry applied by the member that reports this.
    pub applied: LogIndex,
    /// Voters and learners.
    pub members: Vec<ReplicaId>,
}

impl MembersAt {
    /// Whether `replica`, whose log ends at `last`, may be given up: it is no member, and its log ends within what the
    /// members agreed on without it. A majority of them holds all of that. If a later entry had made it a member that
    /// counts, its log would reach that entry.
    #[must_use]
    pub fn can_do_without(&self, replica: ReplicaId, last: LogIndex) -> bool {
        !self.members.contains(&replica) && last <= self.applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_can_be_done_without_only_when_its_log_ends_within_what_others_agreed_on() {
        let group = MembersAt { applied: LogIndex(100), members: vec![ReplicaId(1), ReplicaId(2), ReplicaId(4)] };
        for (replica, last, can) in [(3, 100, true), (3, 0, true), (3, 101, false), (2, 100, false), (2, 0, false)] {
            assert_eq!(group.can_do_without(ReplicaId(replica), LogIndex(last)), can, "replica {replica} up to {last}");
        }
    }
}
