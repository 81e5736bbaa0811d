//! Calls of a gateway to a shard.

use meridian_model as model;
use meridian_model::{BehaviorVersion, CollectionUid, LogIndex, RequestIndexes, TableVersion, WriteId};

use super::collections::{CollectionDef, collection};
use super::fields::{
    Fault, TimeSpan, id, id_bytes, known, list, messages, narrow, needs, optional, parsed, required, wide,
};
use super::ids::{PointId, Traceparent, VersionVector, index};
use super::points::{ConditionalChange, PointOp};
use super::queries::{Filter, Query};
use crate::frame;

/// `1 needs (behavior version); 2 write, 3 create, 4 learn, 5 drop, 6 resolve, 7 read, 8 list, 9 describe, 10 definitions,
/// 11 await, 12 match, 13 conditional_write`
#[derive(prost::Message)]
pub struct ShardCall {
    #[prost(uint32, tag = "1")]
    needs: u32,
    #[prost(oneof = "ShardCallKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    kind: Option<ShardCallKind>,
}

#[derive(prost::Oneof)]
pub enum ShardCallKind {
    #[prost(message, tag = "2")]
    Write(Write),
    #[prost(message, tag = "3")]
    Create(Create),
    #[prost(message, tag = "4")]
    Learn(Learn),
    #[prost(message, tag = "5")]
    Drop(Drop),
    #[prost(string, tag = "6")]
    Resolve(String),
    #[prost(message, tag = "7")]
    Read(Read),
    #[prost(message, tag = "8")]
    List(ReadDemand),
    #[prost(message, tag = "9")]
    Describe(Describe),
    #[prost(message, tag = "10")]
    Definitions(()),
    #[prost(message, tag = "11")]
    Await(VersionVector),
    #[prost(message, tag = "12")]
    Match(Match),
    #[prost(message, tag = "13")]
    ConditionalWrite(ConditionalWrite),
}

/// `1 id, 2 table, 3 sent_at, 4 collection, 5 ops, 6 trace (optional), 7 skipped (changes of the request before each)`
#[derive(prost::Message)]
pub struct Write {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    table: u64,
    #[prost(uint64, tag = "3")]
    sent_at: u64,
    #[prost(string, tag = "4")]
    collection: String,
    #[prost(message, repeated, tag = "5")]
    ops: Vec<PointOp>,
    #[prost(message, optional, tag = "6")]
    trace: Option<Traceparent>,
    #[prost(uint32, repeated, tag = "7")]
    skipped: Vec<u32>,
}

/// `1 id, 2 sent_at, 3 def`
#[derive(prost::Message)]
pub struct Create {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sent_at: u64,
    #[prost(message, optional, tag = "3")]
    def: Option<CollectionDef>,
}

/// `1 uid, 2 def`
#[derive(prost::Message)]
pub struct Learn {
    #[prost(fixed64, tag = "1")]
    uid: u64,
    #[prost(message, optional, tag = "2")]
    def: Option<CollectionDef>,
}

/// `1 id, 2 sent_at, 3 name, 4 upto (optional)`
#[derive(prost::Message)]
pub struct Drop {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sent_at: u64,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(fixed64, optional, tag = "4")]
    upto: Option<u64>,
}

/// `1 collection, 2 query, 3 demand`
#[derive(prost::Message)]
pub struct Read {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(message, optional, tag = "2")]
    query: Option<Query>,
    #[prost(message, optional, tag = "3")]
    demand: Option<ReadDemand>,
}

/// `1 collection, 2 demand`
#[derive(prost::Message)]
pub struct Describe {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(message, optional, tag = "2")]
    demand: Option<ReadDemand>,
}

/// `1 collection, 2 table, 3 filter, 4 from (optional), 5 limit, 6 demand`
#[derive(prost::Message)]
pub struct Match {
    #[prost(fixed64, tag = "1")]
    collection: u64,
    #[prost(uint64, tag = "2")]
    table: u64,
    #[prost(message, optional, tag = "3")]
    filter: Option<Filter>,
    #[prost(message, optional, tag = "4")]
    from: Option<PointId>,
    #[prost(uint64, tag = "5")]
    limit: u64,
    #[prost(message, optional, tag = "6")]
    demand: Option<ReadDemand>,
}

/// `1 id, 2 part, 3 table, 4 collection, 5 read_at, 6 changes, 7 trace (optional)`
#[derive(prost::Message)]
pub struct ConditionalWrite {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    part: u32,
    #[prost(uint64, tag = "3")]
    table: u64,
    #[prost(fixed64, tag = "4")]
    collection: u64,
    #[prost(uint64, tag = "5")]
    read_at: u64,
    #[prost(message, repeated, tag = "6")]
    changes: Vec<ConditionalChange>,
    #[prost(message, optional, tag = "7")]
    trace: Option<Traceparent>,
}

/// `1 index, 2 max_age (optional), 3 covers, 4 wait, 5 left`
#[derive(prost::Message)]
pub struct ReadDemand {
    #[prost(bool, tag = "1")]
    index: bool,
    #[prost(message, optional, tag = "2")]
    max_age: Option<TimeSpan>,
    #[prost(message, optional, tag = "3")]
    covers: Option<VersionVector>,
    #[prost(message, optional, tag = "4")]
    wait: Option<TimeSpan>,
    #[prost(message, optional, tag = "5")]
    left: Option<TimeSpan>,
}

impl From<(BehaviorVersion, &frame::ShardCall)> for ShardCall {
    fn from((needs, call): (BehaviorVersion, &frame::ShardCall)) -> Self {
        Self { needs: needs.0.into(), kind: Some(call.into()) }
    }
}

impl TryFrom<ShardCall> for (BehaviorVersion, frame::ShardCall) {
    type Error = Fault;

    /// The version is looked at first: what needs a later one may hold anything.
    fn try_from(call: ShardCall) -> Result<Self, Fault> {
        let needs = needs(call.needs)?;
        Ok((needs, known("shard call", call.kind)?.try_into()?))
    }
}

impl From<&frame::ShardCall> for ShardCallKind {
    fn from(call: &frame::ShardCall) -> Self {
        use frame::ShardCall as C;
        match call {
            C::Write { id, table, sent_at, collection, ops, indexes, trace } => Self::Write(Write {
                id: id_bytes(id.0),
                table: table.0,
                sent_at: sent_at.0,
                collection: collection.as_str().into(),
                ops: messages(ops),
                trace: trace.as_ref().map(Traceparent::from),
                skipped: indexes.skipped().into(),
            }),
            C::Create { id, sent_at, def } => {
                Self::Create(Create { id: id_bytes(id.0), sent_at: sent_at.0, def: Some(def.into()) })
            }
            C::Learn { uid, def } => Self::Learn(Learn { uid: uid.0, def: Some(def.into()) }),
            C::Drop { id, sent_at, name, upto } => Self::Drop(Drop {
                id: id_bytes(id.0),
                sent_at: sent_at.0,
                name: name.as_str().into(),
                upto: upto.map(|uid| uid.0),
            }),
            C::Resolve(name) => Self::Resolve(name.as_str().into()),
            C::Read { collection, query, demand } => Self::Read(Read {
                collection: collection.as_str().into(),
                query: Some(query.into()),
                demand: Some(demand.into()),
            }),
            C::List(demand) => Self::List(demand.into()),
            C::Describe(name, demand) => {
                Self::Describe(Describe { collection: name.as_str().into(), demand: Some(demand.into()) })
            }
            C::Definitions => Self::Definitions(()),
            C::Await(positions) => Self::Await(positions.into()),
            C::Match(query, demand) => Self::Match(Match {
                collection: query.collection.0,
                table: query.table.0,
                filter: Some((&query.filter).into()),
                from: query.from.as_ref().map(PointId::from),
                limit: wide(query.limit),
                demand: Some(demand.into()),
            }),
            C::ConditionalWrite { id, part, table, collection, read_at, changes, trace } => {
                Self::ConditionalWrite(ConditionalWrite {
                    id: id_bytes(id.0),
                    part: *part,
                    table: table.0,
                    collection: collection.0,
                    read_at: read_at.0,
                    changes: messages(changes),
                    trace: trace.as_ref().map(Traceparent::from),
                })
            }
        }
    }
}

impl TryFrom<ShardCallKind> for frame::ShardCall {
    type Error = Fault;

    fn try_from(call: ShardCallKind) -> Result<Self, Fault> {
        use ShardCallKind as K;
        Ok(match call {
            K::Write(write) => Self::Write {
                id: WriteId(id("write.id", &write.id)?),
                table: TableVersion(write.table),
                sent_at: index(write.sent_at),
                collection: collection("write.collection", &write.collection)?,
                ops: list(write.ops)?,
                indexes: parsed("write.skipped", RequestIndexes::try_from(write.skipped))?,
                trace: optional(write.trace)?,
            },
            K::Create(create) => Self::Create {
                id: WriteId(id("create.id", &create.id)?),
                sent_at: index(create.sent_at),
                def: required("create.def", create.def)?,
            },
            K::Learn(learn) => Self::Learn { uid: CollectionUid(learn.uid), def: required("learn.def", learn.def)? },
            K::Drop(drop) => Self::Drop {
                id: WriteId(id("drop.id", &drop.id)?),
                sent_at: index(drop.sent_at),
                name: collection("drop.name", &drop.name)?,
                upto: drop.upto.map(CollectionUid),
            },
            K::Resolve(name) => Self::Resolve(collection("resolve", &name)?),
            K::Read(read) => Self::Read {
                collection: collection("read.collection", &read.collection)?,
                query: required("read.query", read.query)?,
                demand: required("read.demand", read.demand)?,
            },
            K::List(demand) => Self::List(demand.try_into()?),
            K::Describe(describe) => Self::Describe(
                collection("describe.collection", &describe.collection)?,
                required("describe.demand", describe.demand)?,
            ),
            K::Definitions(()) => Self::Definitions,
            K::Await(positions) => Self::Await(positions.try_into()?),
            K::Match(query) => query.try_into()?,
            K::ConditionalWrite(write) => Self::ConditionalWrite {
                id: WriteId(id("conditional_write.id", &write.id)?),
                part: write.part,
                table: TableVersion(write.table),
                collection: CollectionUid(write.collection),
                read_at: LogIndex(write.read_at),
                changes: list(write.changes)?,
                trace: optional(write.trace)?,
            },
        })
    }
}

impl TryFrom<Match> for frame::ShardCall {
    type Error = Fault;

    fn try_from(query: Match) -> Result<Self, Fault> {
        let demand = required("match.demand", query.demand)?;
        let query = frame::MatchQuery {
            collection: CollectionUid(query.collection),
            table: TableVersion(query.table),
            filter: required("match.filter", query.filter)?,
            from: optional(query.from)?,
            limit: narrow("match.limit", query.limit)?,
        };
        Ok(Self::Match(query, demand))
    }
}

impl From<&frame::ReadDemand> for ReadDemand {
    fn from(demand: &frame::ReadDemand) -> Self {
        Self {
            index: demand.index,
            max_age: demand.max_age.as_ref().map(TimeSpan::from),
            covers: Some((&demand.covers).into()),
            wait: Some((&demand.wait).into()),
            left: Some((&demand.left).into()),
        }
    }
}

impl TryFrom<ReadDemand> for frame::ReadDemand {
    type Error = Fault;

    fn try_from(demand: ReadDemand) -> Result<Self, Fault> {
        Ok(Self {
            index: demand.index,
            max_age: optional(demand.max_age)?,
            covers: required::<_, model::VersionVector>("demand.covers", demand.covers)?,
            wait: required("demand.wait", demand.wait)?,
            left: required("demand.left", demand.left)?,
        })
    }
}
