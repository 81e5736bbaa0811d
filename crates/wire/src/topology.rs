//! Calls on the peer port by which the operator (and `meridian demo`) decides who is a replica of what.
//!
//! The operator is the only authority on topology: it mints replica ids, founds each group once, and changes members one
//! voter at a time. Every change carries the membership version that it expects to replace.

use std::fmt;

use meridian_model::{ClusterId, Link, LogIndex, OriginShard, PrimaryTerm, RegionName, ReplicaId, ShardNumber, Term};
use serde::{Deserialize, Serialize};

use crate::frame::DiskLevel;

/// Entries that a learner may be behind when it is given a vote: few, so that the next commit does not wait for it.
pub const PROMOTE_LAG: u64 = 64;

/// What every replica of a shard is born with. Replicas of one group have equal ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The `VectorCluster` it belongs to.
    pub cluster: ClusterId,
    /// The region it stands in.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
    /// How many shards the region has.
    pub shards: u16,
    /// The region that takes writes at first.
    pub primary: RegionName,
    /// The term of that.
    pub primary_term: PrimaryTerm,
}

/// A replica and where its peer port is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Which replica.
    pub replica: ReplicaId,
    /// `host:port`.
    pub address: String,
}

/// How a data directory came to be; kept on the volume, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it is a replica of.
    pub genesis: Genesis,
    /// Which replica.
    pub replica: ReplicaId,
    /// The voters the group was founded with; empty when this replica joined a group that existed.
    pub founders: Vec<Member>,
    /// Name of the replication group of regions that it was made for. One without fits any: a group may be added later.
    pub group: Option<String>,
}

/// As messages name a volume: `cluster 0123…, region us-east, shard 1 of 2, replica 3`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Genesis { cluster, region, shard, shards, .. } = &self.genesis;
        write!(f, "cluster {cluster}, region {region}, shard {shard} of {shards}, replica {}", self.replica)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ", replication group {group}"))
    }
}

/// One digest of all keys that a pod accepts. It is compared and never shown: neither in logs nor in a status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeysDigest(pub [u8; 32]);

impl fmt::Debug for KeysDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysDigest(..)")
    }
}

/// A question or an order of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopologyCall {
    /// What are you, and how are you?
    Status,
    /// Found a group: the same call goes to every founder. Repeating it is harmless; a directory with another identity refuses.
    Bootstrap(Identity),
    /// Become an empty replica that waits to be added as a learner. What a damaged or removed replica held is moved aside; a
    /// running one gives itself up only when `group` proves that nothing it holds is needed.
    Join {
        /// What to become.
        identity: Identity,
        /// The group that it shall join.
        group: MembersAt,
    },
    /// Leader only: let a joined replica follow the log without a vote.
    AddLearner {
        /// Which, and where.
        member: Member,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: give a learner that has caught up a vote.
    Promote {
        /// Which.
        replica: ReplicaId,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: take a replica out of the group for ever.
    Remove {
        /// Which.
        replica: ReplicaId,
        /// The membership version to replace.
        expected: LogIndex,
    },
    /// Leader only: hand the leadership to a voter that has caught up.
    TransferLeader {
        /// To whom.
        to: ReplicaId,
    },
    /// Leader only: follow these regions from now on, and no others. Nothing restarts; what was received stays.
    SetLinks {
        /// One for each source; see [`meridian_model::check_links`].
        links: Vec<Link>,
        /// The version of the links to replace.
        expected: LogIndex,
    },
}

/// Who belongs to a group once its log is applied up to `applied`: final, for what is applied is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersAt {
    /// Newest entry that the member who tells this has applied.
    pub applied: LogIndex,
    /// Voters and learners.
    pub members: Vec<ReplicaId>,
}

impl MembersAt {
    /// Whether a replica whose log ends at `last` may be given up: it is no member, and its log ends within what the members
    /// agreed on without it. A majority of them holds all of that; and were it a member by a later entry that counts on it,
    /// its log would reach that far.
    #[must_use]
    pub fn can_do_without(&self, replica: ReplicaId, last: LogIndex) -> bool {
        !self.members.contains(&replica) && last <= self.applied
    }
}

/// What a pod answers to a [`TopologyCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopologyAnswer {
    /// To `Status`.
    Status {
        /// What the pod is.
        pod: PodStatus,
        /// Of the keys in force; absent where the answer comes from a replica that was not given any.
        keys: Option<KeysDigest>,
    },
    /// Done, or was so already; the version of members or links that holds now.
    Done {
        /// Index of the newest change of its kind in the log.
        version: LogIndex,
    },
    /// Accepted and under way; ask `Status` for the outcome.
    Started,
    /// Ask the leader.
    NotLeader {
        /// Believed leader.
        leader: Option<ReplicaId>,
    },
    /// Members or links are not those that the call expects.
    Conflict {
        /// Their version that holds now.
        version: LogIndex,
    },
    /// No, and why.
    Refused(String),
}

impl TopologyAnswer {
    /// The answer of a pod that accepts these keys.
    #[must_use]
    pub fn with_keys(mut self, digest: KeysDigest) -> Self {
        if let Self::Status { keys, .. } = &mut self {
            *keys = Some(digest);
        }
        self
    }
}

/// What a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodStatus {
    /// Its volume is empty: it waits for `Bootstrap` or `Join`.
    Blank,
    /// What its volume holds is damaged, or has no readable identity: it must not vote and waits for `Join` under a new id.
    Damaged {
        /// The replica that it was, as far as that can be read.
        replica: Option<ReplicaId>,
        /// What is wrong.
        reason: String,
    },
    /// It runs.
    Running(Box<ReplicaStatus>),
    /// Its volume is another's: another cluster's, region's, shard's or group's. It serves nothing and takes no order.
    Foreign {
        /// What the volume bears.
        identity: Identity,
    },
}

/// What a running replica knows of itself and its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// What it is.
    pub identity: Identity,
    /// Its part in the group.
    pub role: Role,
    /// Raft term.
    pub term: Term,
    /// Believed leader.
    pub leader: Option<ReplicaId>,
    /// Those with a vote.
    pub voters: Vec<Member>,
    /// Those without.
    pub learners: Vec<Member>,
    /// Index of the newest membership change in the log.
    pub membership_version: LogIndex,
    /// Newest entry known committed.
    pub commit: LogIndex,
    /// Newest entry applied.
    pub applied: LogIndex,
    /// As `/readyz` says.
    pub ready: bool,
    /// Asked to stop.
    pub draining: bool,
    /// Why it must not serve, if so: its log or state cannot be trusted, or it was removed.
    pub fault: Option<String>,
    /// Leader only: how far each other replica is.
    pub followers: Vec<FollowerStatus>,
    /// Live points of the shard.
    pub points: u64,
    /// The regions that are followed, and how.
    pub links: Vec<Link>,
    /// Index of the newest change of the links in the log; 0 when there was none.
    pub links_version: LogIndex,
    /// Leader only: records of followed logs that could not be taken, the newest of each origin shard.
    pub poisons: Vec<PoisonSeen>,
    /// How much space its disk has.
    pub disk: DiskLevel,
    /// How much memory its process uses; unknown until measured.
    pub memory: Option<MemorySeen>,
}

impl ReplicaStatus {
    /// That of a follower that has just been made: ready, in no group yet, with an empty log.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            role: Role::Follower,
            term: Term(1),
            leader: None,
            voters: Vec::new(),
            learners: Vec::new(),
            membership_version: LogIndex(0),
            commit: LogIndex(0),
            applied: LogIndex(0),
            ready: true,
            draining: false,
            fault: None,
            followers: Vec::new(),
            points: 0,
            links: Vec::new(),
            links_version: LogIndex(0),
            poisons: Vec::new(),
            disk: DiskLevel::Free,
            memory: None,
        }
    }
}

/// How much memory the process of a replica uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySeen {
    /// What the system cannot take back.
    pub used_bytes: u64,
    /// What it may use.
    pub limit_bytes: u64,
    /// A snapshot does not fit beside it: none is taken, and the replica reports no free bytes.
    pub is_short: bool,
}

/// A record of a followed log that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoisonSeen {
    /// Whose log.
    pub origin: OriginShard,
    /// Topic, partition and offset where they are known, the sequence, and what is wrong.
    pub fault: String,
}

impl ReplicaStatus {
    /// The group's members as this replica has applied them.
    #[must_use]
    pub fn members_at(&self) -> MembersAt {
        let members = self.voters.iter().chain(&self.learners).map(|member| member.replica).collect();
        MembersAt { applied: self.applied, members }
    }
}

/// How far one replica is, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerStatus {
    /// Which.
    pub replica: ReplicaId,
    /// Newest entry known to be on its disk.
    pub matched: LogIndex,
    /// Heard of lately, and following the log rather than waiting for a snapshot.
    pub active: bool,
}

/// A replica's part in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Proposes.
    Leader,
    /// Votes and follows.
    Follower,
    /// Seeks votes.
    Candidate,
    /// Follows without a vote.
    Learner,
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
