//! What can be done to pods and groups.

use meridian_crd::conditions::{EventReason, Predicate, event, predicate};
use meridian_model::{Link, LogIndex, ReplicaId, ShardNumber};
use meridian_proto::topology::{Identity, Member, MembersAt, TopologyCall};

/// One act on the data plane, or one eviction. Each is harmless when repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Tell these pods to bootstrap a group.
    Bootstrap {
        /// Which shard.
        shard: ShardNumber,
        /// Ordinal and identity of each.
        pods: Vec<(u16, Identity)>,
    },
    /// Tell a pod to become an empty replica; what it held is moved aside.
    Join {
        /// Which shard.
        shard: ShardNumber,
        /// Which pod.
        ordinal: u16,
        /// What it becomes.
        identity: Identity,
        /// The group that it joins, and that proves to it that what it holds is over.
        group: MembersAt,
    },
    /// Tell the leader to let a joined replica follow.
    AddLearner {
        /// Which shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// Who joins.
        member: Member,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Tell the leader to give a learner a vote.
    Promote {
        /// Which shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// Which learner.
        replica: ReplicaId,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Tell the leader to take a replica out for ever.
    Remove {
        /// Which shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// Which replica.
        replica: ReplicaId,
        /// The membership to replace.
        expected: LogIndex,
    },
    /// Tell the leader to hand over.
    TransferLeader {
        /// Which shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// To whom.
        to: ReplicaId,
    },
    /// Tell the leader which regions are followed from now on.
    SetLinks {
        /// Which shard.
        shard: ShardNumber,
        /// The leader's pod.
        leader: u16,
        /// All of them.
        links: Vec<Link>,
        /// The version of the links to replace.
        expected: LogIndex,
    },
    /// Ask the API server to evict a pod.
    Evict {
        /// Which shard.
        shard: ShardNumber,
        /// Which pod.
        ordinal: u16,
        /// That pod and no later one of its name.
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
            Self::Evict { .. } => "Evict",
        }
    }

    /// Reason of the event that tells of it, in the form of Kubernetes' own: what has happened.
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
            Self::Evict { .. } => event::POD_EVICTED,
        }
    }

    /// Reason of the event that tells of a refusal.
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
            Self::Evict { .. } => event::EVICT_REFUSED,
        }
    }

    /// What an operation waits for whose act was refused.
    pub(super) fn acceptance(&self) -> Predicate {
        match self {
            Self::Bootstrap { .. } => predicate::BOOTSTRAP_ACCEPTED,
            Self::Join { .. } => predicate::JOIN_ACCEPTED,
            Self::AddLearner { .. } => predicate::ADD_LEARNER_ACCEPTED,
            Self::Promote { .. } => predicate::PROMOTE_ACCEPTED,
            Self::Remove { .. } => predicate::REMOVE_ACCEPTED,
            Self::TransferLeader { .. } => predicate::TRANSFER_LEADER_ACCEPTED,
            Self::SetLinks { .. } => predicate::SET_LINKS_ACCEPTED,
            Self::Evict { .. } => predicate::EVICT_ACCEPTED,
        }
    }

    /// The calls that carry it out, each with the pod it goes to; none for an eviction.
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
            Self::Evict { .. } => Vec::new(),
        }
    }
}
