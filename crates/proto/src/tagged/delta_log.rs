//! Reading a shard's delta log, and re-seeding.

use meridian_model as model;
use meridian_model::{CollectionUid, Hlc};
use prost::bytes::Bytes;

use super::collections::Definition;
use super::fields::{Fault, answer_or, known, list, messages, narrow, needs, optional, required};
use super::ids::{PointId, Position, Statement};
use super::points::{NamedVector, from_vectors, payload, to_vectors};
use crate::delta_bytes::DeltaBytes;
use crate::frame;

/// `1 open, 2 credit (bytes), 3 close, 4 seed`
#[derive(prost::Message)]
pub struct TailCall {
    #[prost(oneof = "TailCallKind", tags = "1, 2, 3, 4")]
    kind: Option<TailCallKind>,
}

#[derive(prost::Oneof)]
pub enum TailCallKind {
    #[prost(message, tag = "1")]
    Open(Open),
    #[prost(uint64, tag = "2")]
    Credit(u64),
    #[prost(message, tag = "3")]
    Close(()),
    #[prost(message, tag = "4")]
    Seed(Seed),
}

/// `1 after, 2 credit (bytes)`
#[derive(prost::Message)]
pub struct Open {
    #[prost(message, optional, tag = "1")]
    after: Option<Position>,
    #[prost(uint64, tag = "2")]
    credit: u64,
}

/// `1 at (optional), 2 after (optional)`
#[derive(prost::Message)]
pub struct Seed {
    #[prost(message, optional, tag = "1")]
    at: Option<Position>,
    #[prost(message, optional, tag = "2")]
    after: Option<Place>,
}

/// `1 collection, 2 point`
#[derive(prost::Message)]
pub struct Place {
    #[prost(fixed64, tag = "1")]
    collection: u64,
    #[prost(message, optional, tag = "2")]
    point: Option<PointId>,
}

/// `1 records, 2 gone, 3 unavailable, 4 seed`
#[derive(prost::Message)]
pub struct TailAnswer {
    #[prost(oneof = "TailAnswerKind", tags = "1, 2, 3, 4")]
    kind: Option<TailAnswerKind>,
}

#[derive(prost::Oneof)]
pub enum TailAnswerKind {
    #[prost(message, tag = "1")]
    Records(Records),
    #[prost(message, tag = "2")]
    Gone(()),
    #[prost(message, tag = "3")]
    Unavailable(()),
    #[prost(message, tag = "4")]
    Seed(SeedPage),
}

/// `1 deltas (each opaque bytes), 2 at, 3 complete (optional), 4 origin_shards`
#[derive(prost::Message)]
pub struct Records {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    deltas: Vec<Bytes>,
    #[prost(message, optional, tag = "2")]
    at: Option<Position>,
    #[prost(message, optional, tag = "3")]
    complete: Option<Statement>,
    #[prost(uint32, tag = "4")]
    origin_shards: u32,
}

/// `1 at, 2 read_at, 3 largest_uid, 4 collections, 5 points, 6 next (optional), 7 origin_shards, 8 needs (behavior version)`.
/// A page replicates data, so it is not taken by a build that would skip a part of it.
#[derive(prost::Message)]
pub struct SeedPage {
    #[prost(message, optional, tag = "1")]
    at: Option<Position>,
    #[prost(message, optional, tag = "2")]
    read_at: Option<Position>,
    #[prost(fixed64, tag = "3")]
    largest_uid: u64,
    #[prost(message, repeated, tag = "4")]
    collections: Vec<Definition>,
    #[prost(message, repeated, tag = "5")]
    points: Vec<SeedPoint>,
    #[prost(message, optional, tag = "6")]
    next: Option<Place>,
    #[prost(uint32, tag = "7")]
    origin_shards: u32,
    #[prost(uint32, tag = "8")]
    needs: u32,
}

/// `1 collection, 2 point, 3 vectors, 4 payload, 5 committed_at, 6 position`
#[derive(prost::Message)]
pub struct SeedPoint {
    #[prost(fixed64, tag = "1")]
    collection: u64,
    #[prost(message, optional, tag = "2")]
    point: Option<PointId>,
    #[prost(message, repeated, tag = "3")]
    vectors: Vec<NamedVector>,
    #[prost(string, tag = "4")]
    payload: String,
    #[prost(fixed64, tag = "5")]
    committed_at: u64,
    #[prost(message, optional, tag = "6")]
    position: Option<Position>,
}

impl From<&(CollectionUid, model::PointId)> for Place {
    fn from((collection, point): &(CollectionUid, model::PointId)) -> Self {
        Self { collection: collection.0, point: Some(point.into()) }
    }
}

impl TryFrom<Place> for (CollectionUid, model::PointId) {
    type Error = Fault;

    fn try_from(place: Place) -> Result<Self, Fault> {
        Ok((CollectionUid(place.collection), required("place.point", place.point)?))
    }
}

impl From<&frame::TailCall> for TailCall {
    fn from(call: &frame::TailCall) -> Self {
        let kind = match call {
            frame::TailCall::Open { after, credit } => {
                TailCallKind::Open(Open { after: Some(after.into()), credit: *credit })
            }
            frame::TailCall::Credit(bytes) => TailCallKind::Credit(*bytes),
            frame::TailCall::Close => TailCallKind::Close(()),
            frame::TailCall::Seed { at, after } => {
                TailCallKind::Seed(Seed { at: at.as_ref().map(Position::from), after: after.as_ref().map(Place::from) })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<TailCall> for frame::TailCall {
    type Error = Fault;

    fn try_from(call: TailCall) -> Result<Self, Fault> {
        Ok(match known("call to the delta log", call.kind)? {
            TailCallKind::Open(Open { after, credit }) => Self::Open { after: required("open.after", after)?, credit },
            TailCallKind::Credit(bytes) => Self::Credit(bytes),
            TailCallKind::Close(()) => Self::Close,
            TailCallKind::Seed(Seed { at, after }) => Self::Seed { at: optional(at)?, after: optional(after)? },
        })
    }
}

impl From<&frame::TailAnswer> for TailAnswer {
    fn from(answer: &frame::TailAnswer) -> Self {
        let kind = match answer {
            frame::TailAnswer::Records { deltas, at, complete, origin_shards } => TailAnswerKind::Records(Records {
                deltas: deltas.iter().map(DeltaBytes::bytes).collect(),
                at: Some(at.into()),
                complete: complete.as_ref().map(Statement::from),
                origin_shards: (*origin_shards).into(),
            }),
            frame::TailAnswer::Gone => TailAnswerKind::Gone(()),
            frame::TailAnswer::Unavailable => TailAnswerKind::Unavailable(()),
            frame::TailAnswer::Seed(page) => TailAnswerKind::Seed(page.into()),
        };
        Self { kind: Some(kind) }
    }
}

/// An answer of an unknown kind is a failure of the call, as every other one.
impl TryFrom<TailAnswer> for frame::TailAnswer {
    type Error = Fault;

    fn try_from(answer: TailAnswer) -> Result<Self, Fault> {
        let read = known("answer of the delta log", answer.kind).and_then(|kind| {
            Ok(match kind {
                TailAnswerKind::Records(records) => Self::Records {
                    deltas: records.deltas.into_iter().map(DeltaBytes::from).collect(),
                    at: required("records.at", records.at)?,
                    complete: optional(records.complete)?,
                    origin_shards: narrow("records.origin_shards", records.origin_shards)?,
                },
                TailAnswerKind::Gone(()) => Self::Gone,
                TailAnswerKind::Unavailable(()) => Self::Unavailable,
                TailAnswerKind::Seed(page) => Self::Seed(page.try_into()?),
            })
        });
        answer_or(read, Self::Unavailable)
    }
}

impl From<&frame::SeedPage> for SeedPage {
    fn from(page: &frame::SeedPage) -> Self {
        Self {
            at: Some((&page.at).into()),
            read_at: Some((&page.read_at).into()),
            largest_uid: page.largest_uid.0,
            collections: messages(&page.collections),
            points: messages(&page.points),
            next: page.next.as_ref().map(Place::from),
            origin_shards: page.origin_shards.into(),
            needs: page.needs().0.into(),
        }
    }
}

impl TryFrom<SeedPage> for frame::SeedPage {
    type Error = Fault;

    fn try_from(page: SeedPage) -> Result<Self, Fault> {
        needs(page.needs)?;
        Ok(Self {
            at: required("seed.at", page.at)?,
            read_at: required("seed.read_at", page.read_at)?,
            largest_uid: CollectionUid(page.largest_uid),
            collections: list(page.collections)?,
            points: list(page.points)?,
            next: optional(page.next)?,
            origin_shards: narrow("seed.origin_shards", page.origin_shards)?,
        })
    }
}

impl From<&frame::SeedPoint> for SeedPoint {
    fn from(point: &frame::SeedPoint) -> Self {
        Self {
            collection: point.collection.0,
            point: Some((&point.point).into()),
            vectors: from_vectors(&point.vectors),
            payload: String::from(&*point.payload.0),
            committed_at: point.committed_at.0,
            position: Some((&point.position).into()),
        }
    }
}

impl TryFrom<SeedPoint> for frame::SeedPoint {
    type Error = Fault;

    fn try_from(point: SeedPoint) -> Result<Self, Fault> {
        Ok(Self {
            collection: CollectionUid(point.collection),
            point: required("seed.point", point.point)?,
            vectors: to_vectors(point.vectors)?,
            payload: payload(point.payload),
            committed_at: Hlc(point.committed_at),
            position: required("seed.position", point.position)?,
        })
    }
}
