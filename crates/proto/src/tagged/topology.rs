//! Calls of the operator, and their answers.

use meridian_model as model;
use meridian_model::{BehaviorVersion, ClusterId, LogIndex, PrimaryTerm, ReplicaId};

use super::fields::{Fault, array, behavior, id, id_bytes, known, list, messages, narrow, optional, required};
use super::hello::Build;
use super::ids::{Member, index, region, replica, shard};
use super::status::PodStatus;
use crate::topology;

/// `1 number; 2 status, 3 bootstrap, 4 join, 5 add_learner, 6 promote, 7 remove, 8 transfer_leader, 9 set_links,
/// 10 finalize (behavior version), 11 publish (behavior version)`
#[derive(prost::Message)]
pub struct TopologyCall {
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    #[prost(oneof = "TopologyCallKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub kind: Option<TopologyCallKind>,
}

#[derive(prost::Oneof)]
pub enum TopologyCallKind {
    #[prost(message, tag = "2")]
    Status(()),
    #[prost(message, tag = "3")]
    Bootstrap(Identity),
    #[prost(message, tag = "4")]
    Join(Join),
    #[prost(message, tag = "5")]
    AddLearner(AddLearner),
    #[prost(message, tag = "6")]
    Promote(Replace),
    #[prost(message, tag = "7")]
    Remove(Replace),
    #[prost(uint64, tag = "8")]
    TransferLeader(u64),
    #[prost(message, tag = "9")]
    SetLinks(SetLinks),
    #[prost(uint32, tag = "10")]
    Finalize(u32),
    #[prost(uint32, tag = "11")]
    Publish(u32),
}

/// `1 identity, 2 group`
#[derive(prost::Message)]
pub struct Join {
    #[prost(message, optional, tag = "1")]
    identity: Option<Identity>,
    #[prost(message, optional, tag = "2")]
    group: Option<MembersAt>,
}

/// `1 member, 2 expected (version to replace)`
#[derive(prost::Message)]
pub struct AddLearner {
    #[prost(message, optional, tag = "1")]
    member: Option<Member>,
    #[prost(uint64, tag = "2")]
    expected: u64,
}

/// `1 replica, 2 expected (version to replace)`
#[derive(prost::Message)]
pub struct Replace {
    #[prost(uint64, tag = "1")]
    replica: u64,
    #[prost(uint64, tag = "2")]
    expected: u64,
}

/// `1 links, 2 expected (version to replace)`
#[derive(prost::Message)]
pub struct SetLinks {
    #[prost(message, repeated, tag = "1")]
    links: Vec<Link>,
    #[prost(uint64, tag = "2")]
    expected: u64,
}

/// `1 number; 2 status, 3 done (version), 4 started, 5 not_leader, 6 conflict (version), 7 refused`
#[derive(prost::Message)]
pub struct TopologyAnswer {
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    #[prost(oneof = "TopologyAnswerKind", tags = "2, 3, 4, 5, 6, 7")]
    pub kind: Option<TopologyAnswerKind>,
}

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum TopologyAnswerKind {
    #[prost(message, tag = "2")]
    Status(Status),
    #[prost(uint64, tag = "3")]
    Done(u64),
    #[prost(message, tag = "4")]
    Started(()),
    #[prost(message, tag = "5")]
    NotLeader(NotLeader),
    #[prost(uint64, tag = "6")]
    Conflict(u64),
    #[prost(string, tag = "7")]
    Refused(String),
}

/// `1 pod, 2 keys (optional, 32 bytes), 3 build (optional)`
#[derive(prost::Message)]
pub struct Status {
    #[prost(message, optional, tag = "1")]
    pod: Option<PodStatus>,
    #[prost(bytes = "vec", optional, tag = "2")]
    keys: Option<Vec<u8>>,
    #[prost(message, optional, tag = "3")]
    build: Option<Build>,
}

/// `1 leader (optional)`
#[derive(prost::Message)]
pub struct NotLeader {
    #[prost(uint64, optional, tag = "1")]
    leader: Option<u64>,
}

/// `1 cluster (16 bytes), 2 region, 3 shard, 4 shards, 5 primary, 6 primary_term, 7 replica, 8 founders, 9 group (optional),
/// 10 behavior (version at the first entry)`
#[derive(prost::Message)]
pub struct Identity {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(uint32, tag = "4")]
    shards: u32,
    #[prost(string, tag = "5")]
    primary: String,
    #[prost(uint64, tag = "6")]
    primary_term: u64,
    #[prost(uint64, tag = "7")]
    replica: u64,
    #[prost(message, repeated, tag = "8")]
    founders: Vec<Member>,
    #[prost(string, optional, tag = "9")]
    group: Option<String>,
    #[prost(uint32, tag = "10")]
    behavior: u32,
}

/// `1 applied, 2 members`
#[derive(prost::Message)]
pub struct MembersAt {
    #[prost(uint64, tag = "1")]
    applied: u64,
    #[prost(uint64, repeated, tag = "2")]
    members: Vec<u64>,
}

/// `1 source, 2 paused; transport: 3 direct, 4 kafka {1 bootstrap_servers, 2 name}`
#[derive(prost::Message)]
pub struct Link {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(bool, tag = "2")]
    paused: bool,
    #[prost(oneof = "Transport", tags = "3, 4")]
    transport: Option<Transport>,
}

#[derive(prost::Oneof)]
pub enum Transport {
    #[prost(message, tag = "3")]
    Direct(()),
    #[prost(message, tag = "4")]
    Kafka(Topic),
}

#[derive(prost::Message)]
pub struct Topic {
    #[prost(string, tag = "1")]
    bootstrap_servers: String,
    #[prost(string, tag = "2")]
    name: String,
}

impl From<&topology::TopologyCall> for TopologyCallKind {
    fn from(call: &topology::TopologyCall) -> Self {
        use topology::TopologyCall as C;
        let replace = |replica: &ReplicaId, expected: &LogIndex| Replace { replica: replica.0, expected: expected.0 };
        match call {
            C::Status => Self::Status(()),
            C::Bootstrap(identity) => Self::Bootstrap(identity.into()),
            C::Join { identity, group } => {
                Self::Join(Join { identity: Some(identity.into()), group: Some(group.into()) })
            }
            C::AddLearner { member, expected } => {
                Self::AddLearner(AddLearner { member: Some(member.into()), expected: expected.0 })
            }
            C::Promote { replica, expected } => Self::Promote(replace(replica, expected)),
            C::Remove { replica, expected } => Self::Remove(replace(replica, expected)),
            C::TransferLeader { to } => Self::TransferLeader(to.0),
            C::SetLinks { links, expected } => {
                Self::SetLinks(SetLinks { links: messages(links), expected: expected.0 })
            }
            C::Finalize { version } => Self::Finalize(version.0.into()),
            C::Publish { version } => Self::Publish(version.0.into()),
        }
    }
}

impl TryFrom<TopologyCallKind> for topology::TopologyCall {
    type Error = Fault;

    fn try_from(call: TopologyCallKind) -> Result<Self, Fault> {
        use TopologyCallKind as K;
        Ok(match call {
            K::Status(()) => Self::Status,
            K::Bootstrap(identity) => Self::Bootstrap(identity.try_into()?),
            K::Join(join) => Self::Join {
                identity: required("join.identity", join.identity)?,
                group: required("join.group", join.group)?,
            },
            K::AddLearner(add) => {
                Self::AddLearner { member: required("add_learner.member", add.member)?, expected: index(add.expected) }
            }
            K::Promote(Replace { replica, expected }) => {
                Self::Promote { replica: ReplicaId(replica), expected: index(expected) }
            }
            K::Remove(Replace { replica, expected }) => {
                Self::Remove { replica: ReplicaId(replica), expected: index(expected) }
            }
            K::TransferLeader(to) => Self::TransferLeader { to: ReplicaId(to) },
            K::SetLinks(set) => Self::SetLinks { links: list(set.links)?, expected: index(set.expected) },
            K::Finalize(version) => Self::Finalize { version: behavior("finalize", version)? },
            K::Publish(version) => Self::Publish { version: behavior("publish", version)? },
        })
    }
}

impl From<&topology::TopologyAnswer> for Option<TopologyAnswerKind> {
    fn from(answer: &topology::TopologyAnswer) -> Self {
        use TopologyAnswerKind as K;
        use topology::TopologyAnswer as A;
        Some(match answer {
            A::Status { pod, keys, build } => K::Status(Status {
                pod: Some(pod.into()),
                keys: keys.map(|keys| keys.0.to_vec()),
                build: build.as_ref().map(Build::from),
            }),
            A::Done { version } => K::Done(version.0),
            A::Started => K::Started(()),
            A::NotLeader { leader } => K::NotLeader(NotLeader { leader: leader.map(|id| id.0) }),
            A::Conflict { version } => K::Conflict(version.0),
            A::Refused(why) => K::Refused(why.clone()),
            A::Unknown => return None,
        })
    }
}

impl TryFrom<TopologyAnswerKind> for topology::TopologyAnswer {
    type Error = Fault;

    fn try_from(answer: TopologyAnswerKind) -> Result<Self, Fault> {
        use TopologyAnswerKind as K;
        Ok(match answer {
            K::Status(Status { pod, keys, build }) => Self::Status {
                pod: required("status.pod", pod)?,
                keys: (keys.map(|keys| array("status.keys", &keys)).transpose()?).map(topology::KeysDigest),
                build: optional(build)?,
            },
            K::Done(version) => Self::Done { version: index(version) },
            K::Started(()) => Self::Started,
            K::NotLeader(NotLeader { leader }) => Self::NotLeader { leader: replica(leader) },
            K::Conflict(version) => Self::Conflict { version: index(version) },
            K::Refused(why) => Self::Refused(why),
        })
    }
}

impl From<&topology::Identity> for Identity {
    fn from(identity: &topology::Identity) -> Self {
        let topology::Genesis { cluster, region, shard, shards, primary, primary_term } = &identity.genesis;
        Self {
            cluster: id_bytes(cluster.0),
            region: region.as_str().into(),
            shard: shard.number().into(),
            shards: (*shards).into(),
            primary: primary.as_str().into(),
            primary_term: primary_term.0,
            replica: identity.replica.0,
            founders: messages(&identity.founders),
            group: identity.group.clone(),
            behavior: identity.behavior.0.into(),
        }
    }
}

impl TryFrom<Identity> for topology::Identity {
    type Error = Fault;

    fn try_from(identity: Identity) -> Result<Self, Fault> {
        let genesis = topology::Genesis {
            cluster: ClusterId(id("identity.cluster", &identity.cluster)?),
            region: region("identity.region", &identity.region)?,
            shard: shard("identity.shard", identity.shard)?,
            shards: narrow("identity.shards", identity.shards)?,
            primary: region("identity.primary", &identity.primary)?,
            primary_term: PrimaryTerm(identity.primary_term),
        };
        let (replica, founders) = (ReplicaId(identity.replica), list(identity.founders)?);
        let behavior = BehaviorVersion(narrow("identity.behavior", identity.behavior)?);
        Ok(Self { genesis, replica, founders, group: identity.group, behavior })
    }
}

impl From<&topology::MembersAt> for MembersAt {
    fn from(group: &topology::MembersAt) -> Self {
        Self { applied: group.applied.0, members: group.members.iter().map(|member| member.0).collect() }
    }
}

impl TryFrom<MembersAt> for topology::MembersAt {
    type Error = Fault;

    fn try_from(group: MembersAt) -> Result<Self, Fault> {
        let members = group.members.into_iter().map(ReplicaId).collect();
        Ok(Self { applied: index(group.applied), members })
    }
}

impl From<&model::Link> for Link {
    fn from(link: &model::Link) -> Self {
        let transport = match &link.transport {
            model::Transport::Direct => Transport::Direct(()),
            model::Transport::Kafka(model::Topic { bootstrap_servers, name }) => {
                Transport::Kafka(Topic { bootstrap_servers: bootstrap_servers.clone(), name: name.clone() })
            }
        };
        Self { source: link.source.as_str().into(), paused: link.paused, transport: Some(transport) }
    }
}

impl TryFrom<Link> for model::Link {
    type Error = Fault;

    fn try_from(link: Link) -> Result<Self, Fault> {
        let transport = match known("transport", link.transport)? {
            Transport::Direct(()) => model::Transport::Direct,
            Transport::Kafka(Topic { bootstrap_servers, name }) => {
                model::Transport::Kafka(model::Topic { bootstrap_servers, name })
            }
        };
        Ok(Self { source: region("link.source", &link.source)?, transport, paused: link.paused })
    }
}
