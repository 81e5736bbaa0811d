//! Acts on pods and groups.

use meridian_crd::conditions::{EventReason, Predicate, event, predicate};
use meridian_model::{BehaviorVersion, Link, LogIndex, ReplicaId, ShardNumber};
use meridian_proto::topology::{Identity, Member, MembersAt, TopologyCall};

/// One act on the data plane, or one eviction. All acts are idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Bootstrap a group on these pods.
    Bootstrap {
        /// The shard.
        shard: ShardNumber,
        /// Ordinal and identity of each.
        pods: Vec<(u16, Identity)>,
    },
    /// Make a pod an empty replica; its former data is moved aside.
    Join {
        /// The shard.
        shard: ShardNumber,
        /// The pod.
        ordinal: u16,
        /// The identity that it gets.
        identity: Identity,
        /// The members of the group, proof that its former data is obsolete.
        group: MembersAt,
    },
    /// Add a joined replica as a learner.
    AddLearner {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The new learner.
        member: Member,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Make a learner a voter.
    Promote {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The learner.
        replica: ReplicaId,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Remove a replica permanently.
    Remove {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The replica.
        replica: ReplicaId,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Transfer leadership.
    TransferLeader {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The new leader.
        to: ReplicaId,
    },
    /// Replace the links to other regions.
    SetLinks {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// All links.
        links: Vec<Link>,
        /// The version of the links to replace.
        expected: LogIndex,
    },
    /// Call the leader to raise the behavior version of its shard.
    Finalize {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The version from then on.
        version: BehaviorVersion,
    },
    /// Call the leader to admit writes whose deltas need this behavior version.
    Publish {
        /// The shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// The newest version that deltas may need from then on.
        version: BehaviorVersion,
    },
    /// Evict a pod through the API server.
    Evict {
        /// The shard.
        shard: ShardNumber,
        /// The pod.
        ordinal: u16,
        /// UID of the pod; a later pod of the same name is not evicted.
        uid: String,
    },
}

impl Act {
    /// Name of the variant, for events (their action) and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bootstrap { .. } => "Bootstrap",
            Self::Join { .. } => "Join",
            Self::AddLearner { .. } => "AddLearner",
            Self::Promote { .. } => "Promote",
            Self::Remove { .. } => "Remove",
            Self::TransferLeader { .. } => "TransferLeader",
            Self::SetLinks { .. } => "SetLinks",
            Self::Finalize { .. } => "Finalize",
            Self::Publish { .. } => "Publish",
            Self::Evict { .. } => "Evict",
        }
    }

    /// Reason of the event after the act, by the convention of Kubernetes: the fact.
    #[must_use]
    pub fn event(&self) -> EventReason {
        match self {
            Self::Bootstrap { .. } => event::GROUP_BOOTSTRAPPED,
            Self::Join { .. } => event::REPLICA_JOINED,
            Self::AddLearner { .. } => event::LEARNER_ADDED,
            Self::Promote { .. } => event::LEARNER_PROMOTED,
            Self::Remove { .. } => event::REPLICA_REMOVED,
            Self::TransferLeader { .. } => event::LEADER_TRANSFERRED,
            Self::SetLinks { .. } => event::LINKS_UPDATED,
            Self::Finalize { .. } => event::VERSION_FINALIZED,
            Self::Publish { .. } => event::VERSION_PUBLISHED,
            Self::Evict { .. } => event::POD_EVICTED,
        }
    }

    /// Reason of the event after a refusal.
    #[must_use]
    pub fn refused_event(&self) -> EventReason {
        match self {
            Self::Bootstrap { .. } => event::BOOTSTRAP_REFUSED,
            Self::Join { .. } => event::JOIN_REFUSED,
            Self::AddLearner { .. } => event::ADD_LEARNER_REFUSED,
            Self::Promote { .. } => event::PROMOTE_REFUSED,
            Self::Remove { .. } => event::REMOVE_REFUSED,
            Self::TransferLeader { .. } => event::TRANSFER_LEADER_REFUSED,
            Self::SetLinks { .. } => event::SET_LINKS_REFUSED,
            Self::Finalize { .. } => event::FINALIZE_REFUSED,
            Self::Publish { .. } => event::PUBLISH_REFUSED,
            Self::Evict { .. } => event::EVICT_REFUSED,
        }
    }

    /// The predicate that an operation waits for after its act was refused.
    pub(super) fn acceptance(&self) -> Predicate {
        match self {
            Self::Bootstrap { .. } => predicate::BOOTSTRAP_ACCEPTED,
            Self::Join { .. } => predicate::JOIN_ACCEPTED,
            Self::AddLearner { .. } => predicate::ADD_LEARNER_ACCEPTED,
            Self::Promote { .. } => predicate::PROMOTE_ACCEPTED,
            Self::Remove { .. } => predicate::REMOVE_ACCEPTED,
            Self::TransferLeader { .. } => predicate::TRANSFER_LEADER_ACCEPTED,
            Self::SetLinks { .. } => predicate::SET_LINKS_ACCEPTED,
            Self::Finalize { .. } => predicate::FINALIZE_ACCEPTED,
            Self::Publish { .. } => predicate::PUBLISH_ACCEPTED,
            Self::Evict { .. } => predicate::EVICT_ACCEPTED,
        }
    }

    /// The calls that carry out the act, each with its pod; none for an eviction.
    #[must_use]
    pub fn calls(&self) -> Vec<(ShardNumber, u16, TopologyCall)> {
        match self.clone() {
            Self::Bootstrap { shard, pods } => {
                pods.into_iter().map(|(pod, identity)| (shard, pod, TopologyCall::Bootstrap(identity))).collect()
            }
            Self::Join { shard, ordinal, identity, group } => {
                vec![(shard, ordinal, TopologyCall::Join { identity, group })]
            }
            Self::AddLearner { shard, leader, member, expected } => {
                vec![(shard, leader, TopologyCall::AddLearner { member, expected })]
            }
            Self::Promote { shard, leader, replica, expected } => {
                vec![(shard, leader, TopologyCall::Promote { replica, expected })]
            }
            Self::Remove { shard, leader, replica, expected } => {
                vec![(shard, leader, TopologyCall::Remove { replica, expected })]
            }
            Self::TransferLeader { shard, leader, to } => vec![(shard, leader, TopologyCall::TransferLeader { to })],
            Self::SetLinks { shard, leader, links, expected } => {
                vec![(shard, leader, TopologyCall::SetLinks { links, expected })]
            }
            Self::Finalize { shard, leader, version } => vec![(shard, leader, TopologyCall::Finalize { version })],
            Self::Publish { shard, leader, version } => vec![(shard, leader, TopologyCall::Publish { version })],
            Self::Evict { .. } => Vec::new(),
        }
    }
}
