//! The state of a pod.

use meridian_model::{ReplicaId, Term};

use super::fields::{
    Enumerated, Fault, behavior, behavior_or_first, enumerated, enumeration, known, later_than_first, list, messages,
    optional, required,
};
use super::ids::{Member, OriginShard, index, region, replica};
use super::topology::{Identity, Link};
use crate::topology::{self, DiskLevel, Role};

enumeration!(DiskLevel, "disk level", { Free = 1, Reserve = 2, Exhausted = 3 });
enumeration!(Role, "role", { Leader = 1, Follower = 2, Candidate = 3, Learner = 4 });

/// `1 blank, 2 damaged, 3 running, 4 foreign, 5 newer (reason)`
#[derive(prost::Message)]
pub struct PodStatus {
    #[prost(oneof = "PodKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<PodKind>,
}

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum PodKind {
    #[prost(message, tag = "1")]
    Blank(()),
    #[prost(message, tag = "2")]
    Damaged(Damaged),
    #[prost(message, tag = "3")]
    Running(ReplicaStatus),
    #[prost(message, tag = "4")]
    Foreign(Identity),
    #[prost(string, tag = "5")]
    Newer(String),
}

/// `1 replica (optional), 2 reason`
#[derive(prost::Message)]
pub struct Damaged {
    #[prost(uint64, optional, tag = "1")]
    replica: Option<u64>,
    #[prost(string, tag = "2")]
    reason: String,
}

/// `1 identity, 2 role, 3 term, 4 leader (optional), 5 voters, 6 learners, 7 membership_version, 8 commit, 9 applied,
/// 10 ready, 11 draining, 12 fault (optional), 13 followers, 14 points, 15 links, 16 links_version, 17 poisons, 18 disk,
/// 19 memory (optional), 20 behavior, 21 published (versions; absent: 1), 22 regions`
#[derive(prost::Message)]
pub struct ReplicaStatus {
    #[prost(message, optional, tag = "1")]
    identity: Option<Identity>,
    #[prost(uint32, optional, tag = "2")]
    role: Option<u32>,
    #[prost(uint64, tag = "3")]
    term: u64,
    #[prost(uint64, optional, tag = "4")]
    leader: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    voters: Vec<Member>,
    #[prost(message, repeated, tag = "6")]
    learners: Vec<Member>,
    #[prost(uint64, tag = "7")]
    membership_version: u64,
    #[prost(uint64, tag = "8")]
    commit: u64,
    #[prost(uint64, tag = "9")]
    applied: u64,
    #[prost(bool, tag = "10")]
    ready: bool,
    #[prost(bool, tag = "11")]
    draining: bool,
    #[prost(string, optional, tag = "12")]
    fault: Option<String>,
    #[prost(message, repeated, tag = "13")]
    followers: Vec<FollowerStatus>,
    #[prost(uint64, tag = "14")]
    points: u64,
    #[prost(message, repeated, tag = "15")]
    links: Vec<Link>,
    #[prost(uint64, tag = "16")]
    links_version: u64,
    #[prost(message, repeated, tag = "17")]
    poisons: Vec<PoisonSeen>,
    #[prost(uint32, optional, tag = "18")]
    disk: Option<u32>,
    #[prost(message, optional, tag = "19")]
    memory: Option<MemorySeen>,
    #[prost(uint32, optional, tag = "20")]
    behavior: Option<u32>,
    #[prost(uint32, optional, tag = "21")]
    published: Option<u32>,
    #[prost(message, repeated, tag = "22")]
    regions: Vec<RegionBehavior>,
}

/// `1 region, 2 behavior (version)`
#[derive(prost::Message)]
pub struct RegionBehavior {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(uint32, tag = "2")]
    behavior: u32,
}

/// `1 replica, 2 matched, 3 active`
#[derive(prost::Message)]
pub struct FollowerStatus {
    #[prost(uint64, tag = "1")]
    replica: u64,
    #[prost(uint64, tag = "2")]
    matched: u64,
    #[prost(bool, tag = "3")]
    active: bool,
}

/// `1 origin, 2 fault`
#[derive(prost::Message)]
pub struct PoisonSeen {
    #[prost(message, optional, tag = "1")]
    origin: Option<OriginShard>,
    #[prost(string, tag = "2")]
    fault: String,
}

/// `1 used_bytes, 2 limit_bytes, 3 is_short`
#[derive(prost::Message)]
pub struct MemorySeen {
    #[prost(uint64, tag = "1")]
    used_bytes: u64,
    #[prost(uint64, tag = "2")]
    limit_bytes: u64,
    #[prost(bool, tag = "3")]
    is_short: bool,
}

impl From<&topology::PodStatus> for PodStatus {
    fn from(pod: &topology::PodStatus) -> Self {
        let kind = match pod {
            topology::PodStatus::Blank => PodKind::Blank(()),
            topology::PodStatus::Damaged { replica, reason } => {
                PodKind::Damaged(Damaged { replica: replica.map(|id| id.0), reason: reason.clone() })
            }
            topology::PodStatus::Running(status) => PodKind::Running((&**status).into()),
            topology::PodStatus::Foreign { identity } => PodKind::Foreign(identity.into()),
            topology::PodStatus::Newer { reason } => PodKind::Newer(reason.clone()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<PodStatus> for topology::PodStatus {
    type Error = Fault;

    fn try_from(pod: PodStatus) -> Result<Self, Fault> {
        Ok(match known("pod status", pod.kind)? {
            PodKind::Blank(()) => Self::Blank,
            PodKind::Damaged(Damaged { replica: id, reason }) => Self::Damaged { replica: replica(id), reason },
            PodKind::Running(status) => Self::Running(Box::new(status.try_into()?)),
            PodKind::Foreign(identity) => Self::Foreign { identity: identity.try_into()? },
            PodKind::Newer(reason) => Self::Newer { reason },
        })
    }
}

impl From<&topology::ReplicaStatus> for ReplicaStatus {
    fn from(status: &topology::ReplicaStatus) -> Self {
        Self {
            identity: Some((&status.identity).into()),
            role: Some(status.role.number()),
            term: status.term.0,
            leader: status.leader.map(|id| id.0),
            voters: messages(&status.voters),
            learners: messages(&status.learners),
            membership_version: status.membership_version.0,
            commit: status.commit.0,
            applied: status.applied.0,
            ready: status.ready,
            draining: status.draining,
            fault: status.fault.clone(),
            followers: messages(&status.followers),
            points: status.points,
            links: messages(&status.links),
            links_version: status.links_version.0,
            poisons: messages(&status.poisons),
            disk: Some(status.disk.number()),
            memory: status.memory.as_ref().map(MemorySeen::from),
            behavior: later_than_first(status.behavior),
            published: later_than_first(status.published),
            regions: messages(&status.regions),
        }
    }
}

impl TryFrom<ReplicaStatus> for topology::ReplicaStatus {
    type Error = Fault;

    fn try_from(status: ReplicaStatus) -> Result<Self, Fault> {
        Ok(Self {
            identity: required("status.identity", status.identity)?,
            role: enumerated("status.role", status.role)?,
            term: Term(status.term),
            leader: replica(status.leader),
            voters: list(status.voters)?,
            learners: list(status.learners)?,
            membership_version: index(status.membership_version),
            commit: index(status.commit),
            applied: index(status.applied),
            ready: status.ready,
            draining: status.draining,
            fault: status.fault,
            followers: list(status.followers)?,
            points: status.points,
            links: list(status.links)?,
            links_version: index(status.links_version),
            poisons: list(status.poisons)?,
            disk: enumerated("status.disk", status.disk)?,
            memory: optional(status.memory)?,
            behavior: behavior_or_first("status.behavior", status.behavior)?,
            published: behavior_or_first("status.published", status.published)?,
            regions: list(status.regions)?,
        })
    }
}

impl From<&topology::FollowerStatus> for FollowerStatus {
    fn from(follower: &topology::FollowerStatus) -> Self {
        let topology::FollowerStatus { replica, matched, active } = follower;
        Self { replica: replica.0, matched: matched.0, active: *active }
    }
}

impl TryFrom<FollowerStatus> for topology::FollowerStatus {
    type Error = Fault;

    fn try_from(follower: FollowerStatus) -> Result<Self, Fault> {
        let FollowerStatus { replica, matched, active } = follower;
        Ok(Self { replica: ReplicaId(replica), matched: index(matched), active })
    }
}

impl From<&topology::RegionBehavior> for RegionBehavior {
    fn from(other: &topology::RegionBehavior) -> Self {
        Self { region: other.region.as_str().into(), behavior: other.behavior.0.into() }
    }
}

impl TryFrom<RegionBehavior> for topology::RegionBehavior {
    type Error = Fault;

    fn try_from(other: RegionBehavior) -> Result<Self, Fault> {
        Ok(Self {
            region: region("region.name", &other.region)?,
            behavior: behavior("region.behavior", other.behavior)?,
        })
    }
}

impl From<&topology::PoisonSeen> for PoisonSeen {
    fn from(poison: &topology::PoisonSeen) -> Self {
        Self { origin: Some((&poison.origin).into()), fault: poison.fault.clone() }
    }
}

impl TryFrom<PoisonSeen> for topology::PoisonSeen {
    type Error = Fault;

    fn try_from(poison: PoisonSeen) -> Result<Self, Fault> {
        Ok(Self { origin: required("poison.origin", poison.origin)?, fault: poison.fault })
    }
}

impl From<&topology::MemorySeen> for MemorySeen {
    fn from(memory: &topology::MemorySeen) -> Self {
        let topology::MemorySeen { used_bytes, limit_bytes, is_short } = *memory;
        Self { used_bytes, limit_bytes, is_short }
    }
}

impl TryFrom<MemorySeen> for topology::MemorySeen {
    type Error = Fault;

    fn try_from(memory: MemorySeen) -> Result<Self, Fault> {
        let MemorySeen { used_bytes, limit_bytes, is_short } = memory;
        Ok(Self { used_bytes, limit_bytes, is_short })
    }
}
