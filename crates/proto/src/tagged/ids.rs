//! Ids, places in logs, and stamps.

use meridian_model as model;
use meridian_model::{Epoch, Hlc, LogIndex, RegionName, ReplicaId, Seq, ShardNumber, Term, WallMillis};

use super::fields::{Fault, id, id_bytes, known, narrow, parsed, required};
use crate::frame;

/// A region by its name.
pub fn region(field: &str, name: &str) -> Result<RegionName, Fault> {
    parsed(field, RegionName::new(name))
}

/// A shard by its number.
pub fn shard(field: &str, number: u32) -> Result<ShardNumber, Fault> {
    parsed(field, ShardNumber::new(narrow(field, number)?))
}

/// `1 num, 2 uuid`
#[derive(prost::Message)]
pub struct PointId {
    #[prost(oneof = "PointIdKind", tags = "1, 2")]
    kind: Option<PointIdKind>,
}

#[derive(prost::Oneof)]
pub enum PointIdKind {
    #[prost(uint64, tag = "1")]
    Num(u64),
    #[prost(bytes = "vec", tag = "2")]
    Uuid(Vec<u8>),
}

impl From<&model::PointId> for PointId {
    fn from(point: &model::PointId) -> Self {
        let kind = match point {
            model::PointId::Num(number) => PointIdKind::Num(*number),
            model::PointId::Uuid(uuid) => PointIdKind::Uuid(id_bytes(*uuid)),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<PointId> for model::PointId {
    type Error = Fault;

    fn try_from(point: PointId) -> Result<Self, Fault> {
        Ok(match known("point id", point.kind)? {
            PointIdKind::Num(number) => Self::Num(number),
            PointIdKind::Uuid(uuid) => Self::Uuid(id("uuid", &uuid)?),
        })
    }
}

/// `1 shard, 2 replica`
#[derive(prost::Message)]
pub struct NodeId {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    replica: u64,
}

impl From<&frame::NodeId> for NodeId {
    fn from(node: &frame::NodeId) -> Self {
        Self { shard: node.shard.number().into(), replica: node.replica.0 }
    }
}

impl TryFrom<NodeId> for frame::NodeId {
    type Error = Fault;

    fn try_from(node: NodeId) -> Result<Self, Fault> {
        Ok(Self { shard: shard("node.shard", node.shard)?, replica: ReplicaId(node.replica) })
    }
}

/// `1 region, 2 shard`
#[derive(prost::Message)]
pub struct OriginShard {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(uint32, tag = "2")]
    shard: u32,
}

impl From<&model::OriginShard> for OriginShard {
    fn from(origin: &model::OriginShard) -> Self {
        Self { region: origin.region.as_str().into(), shard: origin.shard.number().into() }
    }
}

impl TryFrom<OriginShard> for model::OriginShard {
    type Error = Fault;

    fn try_from(origin: OriginShard) -> Result<Self, Fault> {
        let region = region("origin.region", &origin.region)?;
        Ok(Self { region, shard: shard("origin.shard", origin.shard)? })
    }
}

/// `1 epoch, 2 seq`
#[derive(prost::Message)]
pub struct Position {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

impl From<&model::Position> for Position {
    fn from(position: &model::Position) -> Self {
        Self { epoch: position.epoch.0, seq: position.seq.0 }
    }
}

impl TryFrom<Position> for model::Position {
    type Error = Fault;

    fn try_from(position: Position) -> Result<Self, Fault> {
        Ok(Self { epoch: Epoch(position.epoch), seq: Seq(position.seq) })
    }
}

/// `1 positions: {1 region, 2 shard, 3 epoch, 4 seq}`
#[derive(prost::Message)]
pub struct VersionVector {
    #[prost(message, repeated, tag = "1")]
    positions: Vec<OriginPosition>,
}

#[derive(prost::Message)]
pub struct OriginPosition {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(uint64, tag = "4")]
    seq: u64,
}

impl From<&model::VersionVector> for VersionVector {
    fn from(positions: &model::VersionVector) -> Self {
        let position = |(origin, position): (&model::OriginShard, model::Position)| OriginPosition {
            region: origin.region.as_str().into(),
            shard: origin.shard.number().into(),
            epoch: position.epoch.0,
            seq: position.seq.0,
        };
        Self { positions: positions.iter().map(position).collect() }
    }
}

impl TryFrom<VersionVector> for model::VersionVector {
    type Error = Fault;

    fn try_from(vector: VersionVector) -> Result<Self, Fault> {
        let position = |held: OriginPosition| {
            let region = region("positions.region", &held.region)?;
            let origin = model::OriginShard { region, shard: shard("positions.shard", held.shard)? };
            Ok((origin, model::Position { epoch: Epoch(held.epoch), seq: Seq(held.seq) }))
        };
        vector.positions.into_iter().map(position).collect()
    }
}

/// `1 hlc, 2 origin, 3 position`
#[derive(prost::Message)]
pub struct Stamp {
    #[prost(fixed64, tag = "1")]
    hlc: u64,
    #[prost(message, optional, tag = "2")]
    origin: Option<OriginShard>,
    #[prost(message, optional, tag = "3")]
    position: Option<Position>,
}

impl From<&model::Stamp> for Stamp {
    fn from(stamp: &model::Stamp) -> Self {
        let (origin, position) = (Some((&stamp.origin).into()), Some((&stamp.position()).into()));
        Self { hlc: stamp.hlc.0, origin, position }
    }
}

impl TryFrom<Stamp> for model::Stamp {
    type Error = Fault;

    fn try_from(stamp: Stamp) -> Result<Self, Fault> {
        let model::Position { epoch, seq } = required("stamp.position", stamp.position)?;
        Ok(Self { hlc: Hlc(stamp.hlc), origin: required("stamp.origin", stamp.origin)?, epoch, seq })
    }
}

/// `1 through, 2 term, 3 wall (milliseconds since 1970)`
#[derive(prost::Message)]
pub struct Statement {
    #[prost(message, optional, tag = "1")]
    through: Option<Position>,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    wall: u64,
}

impl From<&model::Statement> for Statement {
    fn from(statement: &model::Statement) -> Self {
        Self { through: Some((&statement.through).into()), term: statement.term.0, wall: statement.wall.0 }
    }
}

impl TryFrom<Statement> for model::Statement {
    type Error = Fault;

    fn try_from(statement: Statement) -> Result<Self, Fault> {
        let through = required("statement.through", statement.through)?;
        Ok(Self { through, term: Term(statement.term), wall: WallMillis(statement.wall) })
    }
}

/// `1 trace (16 bytes), 2 span, 3 flags`
#[derive(prost::Message)]
pub struct Traceparent {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    span: u64,
    #[prost(uint32, tag = "3")]
    flags: u32,
}

impl From<&model::Traceparent> for Traceparent {
    fn from(parent: &model::Traceparent) -> Self {
        Self { trace: id_bytes(parent.trace), span: parent.span, flags: parent.flags.into() }
    }
}

impl TryFrom<Traceparent> for model::Traceparent {
    type Error = Fault;

    fn try_from(parent: Traceparent) -> Result<Self, Fault> {
        let (trace, span) = (id("trace", &parent.trace)?, parent.span);
        if trace == 0 || span == 0 {
            return Err(Fault::malformed("trace", "trace and span must not be 0"));
        }
        Ok(Self { trace, span, flags: narrow("trace.flags", parent.flags)? })
    }
}

/// `1 replica, 2 address`
#[derive(prost::Message)]
pub struct Member {
    #[prost(uint64, tag = "1")]
    replica: u64,
    #[prost(string, tag = "2")]
    address: String,
}

impl From<&crate::topology::Member> for Member {
    fn from(member: &crate::topology::Member) -> Self {
        Self { replica: member.replica.0, address: member.address.clone() }
    }
}

impl TryFrom<Member> for crate::topology::Member {
    type Error = Fault;

    fn try_from(member: Member) -> Result<Self, Fault> {
        Ok(Self { replica: ReplicaId(member.replica), address: member.address })
    }
}

/// An optional number as an optional id.
pub fn replica(id: Option<u64>) -> Option<ReplicaId> {
    id.map(ReplicaId)
}

/// An index in the Raft log; absent is 0.
pub fn index(number: u64) -> LogIndex {
    LogIndex(number)
}
