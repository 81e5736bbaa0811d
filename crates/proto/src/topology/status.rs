//! The state of a pod as it reports it to the operator.

use meridian_model::{BehaviorVersion, Link, LogIndex, OriginShard, RegionName, ReplicaId, Term};

use super::{Identity, Member, MembersAt};

/// State of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodStatus {
    /// Its volume is empty: it waits for `Bootstrap` or `Join`.
    Blank,
    /// Its volume is damaged, or has no readable identity: it must not vote and waits for `Join` under a new id.
    Damaged {
        /// The former replica id, as far as it is readable.
        replica: Option<ReplicaId>,
        /// The damage.
        reason: String,
    },
    /// It runs a replica.
    Running(Box<ReplicaStatus>),
    /// Its volume belongs to another cluster, region, shard or group. The pod serves nothing and accepts no call.
    Foreign {
        /// The identity of the volume.
        identity: Identity,
    },
    /// Its volume holds files of a newer release. The pod serves nothing, accepts no call and changes nothing.
    Newer {
        /// The file, its version, and the newest version that the pod reads.
        reason: String,
    },
}

/// State of a running replica and of its group as far as the replica knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its identity.
    pub identity: Identity,
    /// Its role in the group.
    pub role: Role,
    /// Raft term.
    pub term: Term,
    /// Believed leader.
    pub leader: Option<ReplicaId>,
    /// Members with a vote.
    pub voters: Vec<Member>,
    /// Members without.
    pub learners: Vec<Member>,
    /// Index of the newest membership change in the log.
    pub membership_version: LogIndex,
    /// Newest entry known to be committed.
    pub commit: LogIndex,
    /// Newest entry applied.
    pub applied: LogIndex,
    /// Ready, as in `/readyz`.
    pub ready: bool,
    /// Stopping.
    pub draining: bool,
    /// Why it must not serve, if so: its log or state cannot be trusted, or it was removed.
    pub fault: Option<String>,
    /// Leader only: progress of each other replica.
    pub followers: Vec<FollowerStatus>,
    /// Live points of the shard.
    pub points: u64,
    /// The links to the regions that are followed.
    pub links: Vec<Link>,
    /// Index of the newest change of the links in the log; 0 when there was none.
    pub links_version: LogIndex,
    /// Leader only: poison records of followed logs, the newest of each origin shard.
    pub poisons: Vec<PoisonSeen>,
    /// Space on its disk.
    pub disk: DiskLevel,
    /// Memory of its process; unknown until measured.
    pub memory: Option<MemorySeen>,
    /// Behavior version of the group.
    pub behavior: BehaviorVersion,
    /// The newest behavior version that deltas of this group may need.
    pub published: BehaviorVersion,
    /// Leader of the first shard only: the other regions of the replication group that were heard from recently.
    pub regions: Vec<RegionBehavior>,
}

impl ReplicaStatus {
    /// The state of a new follower: ready, without members, with an empty log.
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
            behavior: BehaviorVersion::FIRST,
            published: BehaviorVersion::FIRST,
            regions: Vec::new(),
        }
    }

    /// The members of the group that this replica has applied.
    #[must_use]
    pub fn members_at(&self) -> MembersAt {
        let members = self.voters.iter().chain(&self.learners).map(|member| member.replica).collect();
        MembersAt { applied: self.applied, members }
    }
}

/// Space on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DiskLevel {
    /// Beyond the reserve: all writes are accepted.
    #[default]
    Free,
    /// Within the reserve of the log: only changes that free space, or change the group.
    Reserve,
    /// Within the last segments of the reserve: only votes, and entries that the log already holds.
    Exhausted,
}

/// Memory of the process of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySeen {
    /// Bytes that the system cannot reclaim.
    pub used_bytes: u64,
    /// Bytes that the process may use.
    pub limit_bytes: u64,
    /// A snapshot does not fit into memory: none is taken, and the replica reports no free bytes.
    pub is_short: bool,
}

/// The behavior version of another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionBehavior {
    /// The region.
    pub region: RegionName,
    /// The version that each of its shards has finalized.
    pub behavior: BehaviorVersion,
}

/// A record of a followed log that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoisonSeen {
    /// Origin shard of the log.
    pub origin: OriginShard,
    /// Topic, partition and offset where they are known, the sequence, and the error.
    pub fault: String,
}

/// Progress of one replica as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Newest entry known to be on its disk.
    pub matched: LogIndex,
    /// Heard from recently, and following the log rather than waiting for a snapshot.
    pub active: bool,
}

/// Role of a replica in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Proposes entries.
    Leader,
    /// Votes and follows the log.
    Follower,
    /// Requests votes.
    Candidate,
    /// Follows the log without a vote.
    Learner,
}
