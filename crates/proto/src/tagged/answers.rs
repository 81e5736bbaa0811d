//! What queries return.

use meridian_model as model;

use super::fields::{Fault, known, list, messages, optional, present, required};
use super::ids::PointId;
use super::points::{VectorList, payload};

/// `1 id, 2 version, 3 payload (optional), 4 vectors (optional)`
#[derive(prost::Message)]
pub struct Record {
    #[prost(message, optional, tag = "1")]
    id: Option<PointId>,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(string, optional, tag = "3")]
    payload: Option<String>,
    #[prost(message, optional, tag = "4")]
    vectors: Option<VectorList>,
}

/// `1 record, 2 score`
#[derive(prost::Message)]
pub struct Found {
    #[prost(message, optional, tag = "1")]
    record: Option<Record>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
}

/// `1 found, 2 records, 3 page, 4 count`
#[derive(prost::Message)]
pub struct Answer {
    #[prost(oneof = "AnswerKind", tags = "1, 2, 3, 4")]
    kind: Option<AnswerKind>,
}

#[derive(prost::Oneof)]
pub enum AnswerKind {
    #[prost(message, tag = "1")]
    Found(FoundList),
    #[prost(message, tag = "2")]
    Records(Page),
    #[prost(message, tag = "3")]
    Page(Page),
    #[prost(uint64, tag = "4")]
    Count(u64),
}

/// `1 found`
#[derive(prost::Message)]
pub struct FoundList {
    #[prost(message, repeated, tag = "1")]
    found: Vec<Found>,
}

/// `1 records, 2 next (optional)`
#[derive(prost::Message)]
pub struct Page {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
    #[prost(message, optional, tag = "2")]
    next: Option<PointId>,
}

impl From<&model::Record> for Record {
    fn from(record: &model::Record) -> Self {
        Self {
            id: Some((&record.id).into()),
            version: record.version,
            payload: record.payload.as_ref().map(|payload| String::from(&*payload.0)),
            vectors: record.vectors.as_ref().map(VectorList::from),
        }
    }
}

impl TryFrom<Record> for model::Record {
    type Error = Fault;

    fn try_from(record: Record) -> Result<Self, Fault> {
        Ok(Self {
            id: required("record.id", record.id)?,
            version: record.version,
            payload: record.payload.map(payload),
            vectors: optional(record.vectors)?,
        })
    }
}

impl From<&model::Found> for Found {
    fn from(found: &model::Found) -> Self {
        Self { record: Some((&found.record).into()), score: Some(found.score) }
    }
}

impl TryFrom<Found> for model::Found {
    type Error = Fault;

    fn try_from(found: Found) -> Result<Self, Fault> {
        Ok(Self { record: required("found.record", found.record)?, score: present("found.score", found.score)? })
    }
}

impl From<&model::Answer> for Answer {
    fn from(answer: &model::Answer) -> Self {
        let kind = match answer {
            model::Answer::Found(found) => AnswerKind::Found(FoundList { found: messages(found) }),
            model::Answer::Records(records) => AnswerKind::Records(Page { records: messages(records), next: None }),
            model::Answer::Page(records, next) => {
                AnswerKind::Page(Page { records: messages(records), next: next.as_ref().map(PointId::from) })
            }
            model::Answer::Count(count) => AnswerKind::Count(*count),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Answer> for model::Answer {
    type Error = Fault;

    fn try_from(answer: Answer) -> Result<Self, Fault> {
        Ok(match known("answer", answer.kind)? {
            AnswerKind::Found(FoundList { found }) => Self::Found(list(found)?),
            AnswerKind::Records(Page { records, .. }) => Self::Records(list(records)?),
            AnswerKind::Page(Page { records, next }) => Self::Page(list(records)?, optional(next)?),
            AnswerKind::Count(count) => Self::Count(count),
        })
    }
}
