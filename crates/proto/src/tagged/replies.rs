//! Replies to clients' requests.

use meridian_model as model;
use meridian_model::client::{self, Outcome};
use meridian_model::{CollectionUid, PrimaryTerm};

use super::answers::Answer;
use super::collections::CollectionDef;
use super::fields::{Enumerated, Fault, TimeSpan, enumerated, enumeration, known, list, messages, narrow, required};
use super::ids::{VersionVector, region, shard};

enumeration!(Outcome, "outcome", { Fresh = 1, Waited = 2, Redirected = 3, Stale = 4, Failed = 5 });

/// `body: 1 ok, 2 refusal; 3 freshness`
#[derive(prost::Message)]
pub struct Reply {
    #[prost(oneof = "ReplyResult", tags = "1, 2")]
    body: Option<ReplyResult>,
    #[prost(message, optional, tag = "3")]
    freshness: Option<Freshness>,
}

#[derive(prost::Oneof)]
pub enum ReplyResult {
    #[prost(message, tag = "1")]
    Ok(ReplyBody),
    #[prost(message, tag = "2")]
    Refusal(Refusal),
}

/// `1 done, 2 collections, 3 collection, 4 written, 5 answer, 6 acknowledged`
#[derive(prost::Message)]
pub struct ReplyBody {
    #[prost(oneof = "ReplyKind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<ReplyKind>,
}

#[derive(prost::Oneof)]
pub enum ReplyKind {
    #[prost(bool, tag = "1")]
    Done(bool),
    #[prost(message, tag = "2")]
    Collections(CollectionList),
    #[prost(message, tag = "3")]
    Collection(Report),
    #[prost(uint64, tag = "4")]
    Written(u64),
    #[prost(message, tag = "5")]
    Answer(Answer),
    #[prost(uint64, tag = "6")]
    Acknowledged(u64),
}

/// `1 collections`
#[derive(prost::Message)]
pub struct CollectionList {
    #[prost(message, repeated, tag = "1")]
    collections: Vec<CollectionDef>,
}

/// `1 uid, 2 def, 3 points, 4 indexed, 5 shards, 6 replicas`
#[derive(prost::Message)]
pub struct Report {
    #[prost(fixed64, tag = "1")]
    uid: u64,
    #[prost(message, optional, tag = "2")]
    def: Option<CollectionDef>,
    #[prost(uint64, tag = "3")]
    points: u64,
    #[prost(uint64, tag = "4")]
    indexed: u64,
    #[prost(uint32, tag = "5")]
    shards: u32,
    #[prost(uint32, tag = "6")]
    replicas: u32,
}

/// `1 staleness, 2 served_region, 3 token, 4 stale, 5 outcome`
#[derive(prost::Message)]
pub struct Freshness {
    #[prost(message, optional, tag = "1")]
    staleness: Option<TimeSpan>,
    #[prost(string, tag = "2")]
    served_region: String,
    #[prost(message, optional, tag = "3")]
    token: Option<VersionVector>,
    #[prost(bool, tag = "4")]
    stale: bool,
    #[prost(uint32, optional, tag = "5")]
    outcome: Option<u32>,
}

/// `1 bad_input, 2 not_found, 3 already_exists, 4 unavailable, 5 overloaded, 6 too_stale (ms), 7 misdirected, 8 read_only,
/// 9 timeout, 10 internal, 11 outcome_unknown`
#[derive(prost::Message)]
pub struct Refusal {
    #[prost(oneof = "RefusalKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    kind: Option<RefusalKind>,
}

#[derive(prost::Oneof)]
pub enum RefusalKind {
    #[prost(string, tag = "1")]
    BadInput(String),
    #[prost(string, tag = "2")]
    NotFound(String),
    #[prost(string, tag = "3")]
    AlreadyExists(String),
    #[prost(message, tag = "4")]
    Unavailable(Unavailable),
    #[prost(string, tag = "5")]
    Overloaded(String),
    #[prost(uint64, tag = "6")]
    TooStale(u64),
    #[prost(message, tag = "7")]
    Misdirected(Misdirected),
    #[prost(message, tag = "8")]
    ReadOnly(()),
    #[prost(message, tag = "9")]
    Timeout(TimeSpan),
    #[prost(string, tag = "10")]
    Internal(String),
    #[prost(string, tag = "11")]
    OutcomeUnknown(String),
}

/// `1 shards, 2 reason`
#[derive(prost::Message)]
pub struct Unavailable {
    #[prost(uint32, repeated, tag = "1")]
    shards: Vec<u32>,
    #[prost(string, tag = "2")]
    reason: String,
}

/// `1 primary, 2 term`
#[derive(prost::Message)]
pub struct Misdirected {
    #[prost(string, tag = "1")]
    primary: String,
    #[prost(uint64, tag = "2")]
    term: u64,
}

impl From<&client::Reply> for Reply {
    fn from(reply: &client::Reply) -> Self {
        let body = match &reply.body {
            Ok(body) => ReplyResult::Ok(body.into()),
            Err(refusal) => ReplyResult::Refusal(refusal.into()),
        };
        Self { body: Some(body), freshness: Some((&reply.freshness).into()) }
    }
}

impl TryFrom<Reply> for client::Reply {
    type Error = Fault;

    fn try_from(reply: Reply) -> Result<Self, Fault> {
        let body = match known("reply", reply.body)? {
            ReplyResult::Ok(body) => Ok(body.try_into()?),
            ReplyResult::Refusal(refusal) => Err(refusal.try_into()?),
        };
        Ok(Self { body, freshness: required("reply.freshness", reply.freshness)? })
    }
}

impl From<&client::ReplyBody> for ReplyBody {
    fn from(body: &client::ReplyBody) -> Self {
        let kind = match body {
            client::ReplyBody::Done(done) => ReplyKind::Done(*done),
            client::ReplyBody::Collections(collections) => {
                ReplyKind::Collections(CollectionList { collections: messages(collections) })
            }
            client::ReplyBody::Collection(report) => ReplyKind::Collection(report.into()),
            client::ReplyBody::Written(seq) => ReplyKind::Written(*seq),
            client::ReplyBody::Answer(answer) => ReplyKind::Answer(answer.into()),
            client::ReplyBody::Acknowledged(seq) => ReplyKind::Acknowledged(*seq),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<ReplyBody> for client::ReplyBody {
    type Error = Fault;

    fn try_from(body: ReplyBody) -> Result<Self, Fault> {
        Ok(match known("reply", body.kind)? {
            ReplyKind::Done(done) => Self::Done(done),
            ReplyKind::Collections(CollectionList { collections }) => Self::Collections(list(collections)?),
            ReplyKind::Collection(report) => Self::Collection(report.try_into()?),
            ReplyKind::Written(seq) => Self::Written(seq),
            ReplyKind::Answer(answer) => Self::Answer(answer.try_into()?),
            ReplyKind::Acknowledged(seq) => Self::Acknowledged(seq),
        })
    }
}

impl From<&client::CollectionReport> for Report {
    fn from(report: &client::CollectionReport) -> Self {
        let client::CollectionReport { uid, def, points, indexed, shards, replicas } = report;
        Self {
            uid: uid.0,
            def: Some(def.into()),
            points: *points,
            indexed: *indexed,
            shards: (*shards).into(),
            replicas: (*replicas).into(),
        }
    }
}

impl TryFrom<Report> for client::CollectionReport {
    type Error = Fault;

    fn try_from(report: Report) -> Result<Self, Fault> {
        Ok(Self {
            uid: CollectionUid(report.uid),
            def: required("report.def", report.def)?,
            points: report.points,
            indexed: report.indexed,
            shards: narrow("report.shards", report.shards)?,
            replicas: narrow("report.replicas", report.replicas)?,
        })
    }
}

impl From<&client::Freshness> for Freshness {
    fn from(freshness: &client::Freshness) -> Self {
        Self {
            staleness: Some((&freshness.staleness).into()),
            served_region: freshness.served_region.as_str().into(),
            token: Some((&freshness.token).into()),
            stale: freshness.stale,
            outcome: Some(freshness.outcome.number()),
        }
    }
}

impl TryFrom<Freshness> for client::Freshness {
    type Error = Fault;

    fn try_from(freshness: Freshness) -> Result<Self, Fault> {
        Ok(Self {
            staleness: required("freshness.staleness", freshness.staleness)?,
            served_region: region("freshness.served_region", &freshness.served_region)?,
            token: required::<_, model::VersionVector>("freshness.token", freshness.token)?,
            stale: freshness.stale,
            outcome: enumerated("freshness.outcome", freshness.outcome)?,
        })
    }
}

impl From<&client::Refusal> for Refusal {
    fn from(refusal: &client::Refusal) -> Self {
        use client::Refusal as R;
        let kind = match refusal {
            R::BadInput(why) => RefusalKind::BadInput(why.clone()),
            R::NotFound(why) => RefusalKind::NotFound(why.clone()),
            R::AlreadyExists(why) => RefusalKind::AlreadyExists(why.clone()),
            R::Unavailable { shards, reason } => {
                let shards = shards.iter().map(|shard| shard.number().into()).collect();
                RefusalKind::Unavailable(Unavailable { shards, reason: reason.clone() })
            }
            R::Overloaded(why) => RefusalKind::Overloaded(why.clone()),
            R::TooStale { staleness_ms } => RefusalKind::TooStale(*staleness_ms),
            R::Misdirected { primary, term } => {
                RefusalKind::Misdirected(Misdirected { primary: primary.as_str().into(), term: term.0 })
            }
            R::ReadOnly => RefusalKind::ReadOnly(()),
            R::Timeout(waited) => RefusalKind::Timeout(waited.into()),
            R::Internal(why) => RefusalKind::Internal(why.clone()),
            R::OutcomeUnknown(why) => RefusalKind::OutcomeUnknown(why.clone()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Refusal> for client::Refusal {
    type Error = Fault;

    fn try_from(refusal: Refusal) -> Result<Self, Fault> {
        Ok(match known("refusal", refusal.kind)? {
            RefusalKind::BadInput(why) => Self::BadInput(why),
            RefusalKind::NotFound(why) => Self::NotFound(why),
            RefusalKind::AlreadyExists(why) => Self::AlreadyExists(why),
            RefusalKind::Unavailable(Unavailable { shards, reason }) => {
                let shards = shards.into_iter().map(|number| shard("unavailable.shards", number));
                Self::Unavailable { shards: shards.collect::<Result<_, Fault>>()?, reason }
            }
            RefusalKind::Overloaded(why) => Self::Overloaded(why),
            RefusalKind::TooStale(staleness_ms) => Self::TooStale { staleness_ms },
            RefusalKind::Misdirected(Misdirected { primary, term }) => {
                Self::Misdirected { primary: region("misdirected.primary", &primary)?, term: PrimaryTerm(term) }
            }
            RefusalKind::ReadOnly(()) => Self::ReadOnly,
            RefusalKind::Timeout(waited) => Self::Timeout(waited.try_into()?),
            RefusalKind::Internal(why) => Self::Internal(why),
            RefusalKind::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
        })
    }
}
