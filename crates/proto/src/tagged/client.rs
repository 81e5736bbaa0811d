//! Clients' requests between regions.

use meridian_model as model;
use meridian_model::client::{self, OnStale};
use meridian_model::{Consistency, RequiredFreshness, WriteId};

use super::collections::{CollectionDef, collection};
use super::fields::{
    Enumerated, Fault, TimeSpan, enumerated, enumeration, id, id_bytes, known, list, messages, optional, required,
};
use super::ids::VersionVector;
use super::points::PointOp;
use super::queries::{Filter, Query};

enumeration!(Consistency, "consistency", { Strong = 1, Bounded = 2, Session = 3, Eventual = 4 });
enumeration!(OnStale, "fallback", { Wait = 1, Redirect = 2, Serve = 3, Fail = 4 });

/// `1 id, 2 demand, 3 traceparent (optional), 4 timeout, 5 wait (optional); body: 8 create, 9 drop, 10 list, 11 describe,
/// 12 write, 13 delete_by_filter, 14 read`
#[derive(prost::Message)]
pub struct Request {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    demand: Option<Demand>,
    #[prost(string, optional, tag = "3")]
    traceparent: Option<String>,
    #[prost(message, optional, tag = "4")]
    timeout: Option<TimeSpan>,
    #[prost(message, optional, tag = "5")]
    wait: Option<TimeSpan>,
    #[prost(oneof = "Body", tags = "8, 9, 10, 11, 12, 13, 14")]
    body: Option<Body>,
}

#[derive(prost::Oneof)]
pub enum Body {
    #[prost(message, tag = "8")]
    Create(CollectionDef),
    #[prost(string, tag = "9")]
    Drop(String),
    #[prost(message, tag = "10")]
    List(()),
    #[prost(string, tag = "11")]
    Describe(String),
    #[prost(message, tag = "12")]
    Write(Write),
    #[prost(message, tag = "13")]
    DeleteByFilter(DeleteByFilter),
    #[prost(message, tag = "14")]
    Read(Read),
}

/// `1 collection, 2 ops`
#[derive(prost::Message)]
pub struct Write {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(message, repeated, tag = "2")]
    ops: Vec<PointOp>,
}

/// `1 collection, 2 filter`
#[derive(prost::Message)]
pub struct DeleteByFilter {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(message, optional, tag = "2")]
    filter: Option<Filter>,
}

/// `1 collection, 2 query`
#[derive(prost::Message)]
pub struct Read {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(message, optional, tag = "2")]
    query: Option<Query>,
}

/// `1 consistency, 2 freshness, 3 on_stale, 4 max_wait, 5 token`; all are optional
#[derive(prost::Message)]
pub struct Demand {
    #[prost(uint32, optional, tag = "1")]
    consistency: Option<u32>,
    #[prost(message, optional, tag = "2")]
    freshness: Option<TimeSpan>,
    #[prost(message, optional, tag = "3")]
    on_stale: Option<Fallbacks>,
    #[prost(message, optional, tag = "4")]
    max_wait: Option<TimeSpan>,
    #[prost(message, optional, tag = "5")]
    token: Option<VersionVector>,
}

/// `1 fallbacks`, in the order in which they are tried
#[derive(prost::Message)]
pub struct Fallbacks {
    #[prost(uint32, repeated, tag = "1")]
    fallbacks: Vec<u32>,
}

impl From<&client::Request> for Request {
    fn from(request: &client::Request) -> Self {
        Self {
            id: id_bytes(request.id.0),
            demand: Some((&request.demand).into()),
            traceparent: request.traceparent.clone(),
            timeout: Some((&request.timeout).into()),
            wait: request.wait.as_ref().map(TimeSpan::from),
            body: Some((&request.body).into()),
        }
    }
}

impl TryFrom<Request> for client::Request {
    type Error = Fault;

    fn try_from(request: Request) -> Result<Self, Fault> {
        Ok(Self {
            id: WriteId(id("request.id", &request.id)?),
            body: known("request", request.body)?.try_into()?,
            demand: required("request.demand", request.demand)?,
            traceparent: request.traceparent,
            timeout: required("request.timeout", request.timeout)?,
            wait: optional(request.wait)?,
        })
    }
}

impl From<&client::Body> for Body {
    fn from(body: &client::Body) -> Self {
        match body {
            client::Body::CreateCollection(def) => Self::Create(def.into()),
            client::Body::DropCollection(name) => Self::Drop(name.as_str().into()),
            client::Body::ListCollections => Self::List(()),
            client::Body::DescribeCollection(name) => Self::Describe(name.as_str().into()),
            client::Body::Write { collection, ops } => {
                Self::Write(Write { collection: collection.as_str().into(), ops: messages(ops) })
            }
            client::Body::DeleteByFilter { collection, filter } => {
                let (collection, filter) = (collection.as_str().into(), Some(filter.into()));
                Self::DeleteByFilter(DeleteByFilter { collection, filter })
            }
            client::Body::Read { collection, query } => {
                Self::Read(Read { collection: collection.as_str().into(), query: Some(query.into()) })
            }
        }
    }
}

impl TryFrom<Body> for client::Body {
    type Error = Fault;

    fn try_from(body: Body) -> Result<Self, Fault> {
        Ok(match body {
            Body::Create(def) => Self::CreateCollection(def.try_into()?),
            Body::Drop(name) => Self::DropCollection(collection("drop", &name)?),
            Body::List(()) => Self::ListCollections,
            Body::Describe(name) => Self::DescribeCollection(collection("describe", &name)?),
            Body::Write(write) => {
                Self::Write { collection: collection("write.collection", &write.collection)?, ops: list(write.ops)? }
            }
            Body::DeleteByFilter(delete) => Self::DeleteByFilter {
                collection: collection("delete.collection", &delete.collection)?,
                filter: required("delete.filter", delete.filter)?,
            },
            Body::Read(read) => Self::Read {
                collection: collection("read.collection", &read.collection)?,
                query: required("read.query", read.query)?,
            },
        })
    }
}

impl From<&client::Demand> for Demand {
    fn from(demand: &client::Demand) -> Self {
        let fallbacks = |fallbacks: &Vec<OnStale>| Fallbacks {
            fallbacks: fallbacks.iter().map(|fallback| fallback.number()).collect(),
        };
        Self {
            consistency: demand.consistency.map(Enumerated::number),
            freshness: demand.freshness.as_ref().map(|freshness| (&freshness.0).into()),
            on_stale: demand.on_stale.as_ref().map(fallbacks),
            max_wait: demand.max_wait.as_ref().map(TimeSpan::from),
            token: demand.token.as_ref().map(VersionVector::from),
        }
    }
}

impl TryFrom<Demand> for client::Demand {
    type Error = Fault;

    fn try_from(demand: Demand) -> Result<Self, Fault> {
        let fallbacks = |list: Fallbacks| {
            let fallbacks = list.fallbacks.into_iter().map(|number| enumerated("demand.on_stale", Some(number)));
            fallbacks.collect::<Result<Vec<OnStale>, Fault>>()
        };
        Ok(Self {
            consistency: (demand.consistency)
                .map(|number| enumerated("demand.consistency", Some(number)))
                .transpose()?,
            freshness: optional(demand.freshness)?.map(RequiredFreshness),
            on_stale: demand.on_stale.map(fallbacks).transpose()?,
            max_wait: optional(demand.max_wait)?,
            token: optional::<_, model::VersionVector>(demand.token)?,
        })
    }
}
