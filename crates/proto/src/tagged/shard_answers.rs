//! Answers of a shard to a gateway.

use meridian_model as model;
use meridian_model::{CollectionUid, Seq, TableVersion};

use super::answers::Answer;
use super::collections::{CollectionDef, Definition};
use super::fields::{Fault, TimeSpan, known, list, messages, optional, required};
use super::ids::{PointId, Stamp, VersionVector, index, replica};
use crate::frame;

/// `1 written, 2 created, 3 exists, 4 dropped, 5 resolved, 6 part, 7 no_collection, 8 wrong, 9 not_leader, 10 not_owner,
/// 11 busy, 12 full, 13 definitions, 14 reached, 15 conditional, 16 forgotten, 17 overloaded, 18 stepped_down, 19 unsupported`
#[derive(prost::Message)]
pub struct ShardAnswer {
    #[prost(oneof = "ShardAnswerKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19")]
    kind: Option<ShardAnswerKind>,
}

#[derive(prost::Oneof)]
pub enum ShardAnswerKind {
    #[prost(message, tag = "1")]
    Written(Written),
    #[prost(message, tag = "2")]
    Created(Created),
    #[prost(message, tag = "3")]
    Exists(()),
    #[prost(message, tag = "4")]
    Dropped(Dropped),
    #[prost(message, tag = "5")]
    Resolved(Resolved),
    #[prost(message, tag = "6")]
    Part(Part),
    #[prost(message, tag = "7")]
    NoCollection(()),
    #[prost(string, tag = "8")]
    Wrong(String),
    #[prost(message, tag = "9")]
    NotLeader(NotLeader),
    #[prost(uint64, tag = "10")]
    NotOwner(u64),
    #[prost(string, tag = "11")]
    Busy(String),
    #[prost(message, tag = "12")]
    Full(()),
    #[prost(message, tag = "13")]
    Definitions(Definitions),
    #[prost(bool, tag = "14")]
    Reached(bool),
    #[prost(message, tag = "15")]
    Conditional(Conditional),
    #[prost(message, tag = "16")]
    Forgotten(()),
    #[prost(string, tag = "17")]
    Overloaded(String),
    #[prost(message, tag = "18")]
    SteppedDown(()),
    #[prost(string, tag = "19")]
    Unsupported(String),
}

/// `1 seq, 2 covers`
#[derive(prost::Message)]
pub struct Written {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(message, optional, tag = "2")]
    covers: Option<VersionVector>,
}

/// `1 uid, 2 covers`
#[derive(prost::Message)]
pub struct Created {
    #[prost(fixed64, tag = "1")]
    uid: u64,
    #[prost(message, optional, tag = "2")]
    covers: Option<VersionVector>,
}

/// `1 existed, 2 upto, 3 covers`
#[derive(prost::Message)]
pub struct Dropped {
    #[prost(bool, tag = "1")]
    existed: bool,
    #[prost(fixed64, tag = "2")]
    upto: u64,
    #[prost(message, optional, tag = "3")]
    covers: Option<VersionVector>,
}

/// `1 definition (optional)`
#[derive(prost::Message)]
pub struct Resolved {
    #[prost(message, optional, tag = "1")]
    definition: Option<Definition>,
}

/// `1 leader (optional)`
#[derive(prost::Message)]
pub struct NotLeader {
    #[prost(uint64, optional, tag = "1")]
    leader: Option<u64>,
}

/// `1 largest, 2 standing`
#[derive(prost::Message)]
pub struct Definitions {
    #[prost(fixed64, tag = "1")]
    largest: u64,
    #[prost(message, repeated, tag = "2")]
    standing: Vec<Definition>,
}

/// `1 last, 2 covers, 3 retry`
#[derive(prost::Message)]
pub struct Conditional {
    #[prost(uint64, tag = "1")]
    last: u64,
    #[prost(message, optional, tag = "2")]
    covers: Option<VersionVector>,
    #[prost(uint32, repeated, tag = "3")]
    retry: Vec<u32>,
}

/// `1 body (optional: absent when the collection does not exist), 2 kept, 3 waited, 4 age, 5 took, 6 covers`
#[derive(prost::Message)]
pub struct Part {
    #[prost(message, optional, tag = "1")]
    body: Option<PartBody>,
    #[prost(bool, tag = "2")]
    kept: bool,
    #[prost(bool, tag = "3")]
    waited: bool,
    #[prost(message, optional, tag = "4")]
    age: Option<TimeSpan>,
    #[prost(message, optional, tag = "5")]
    took: Option<TimeSpan>,
    #[prost(message, optional, tag = "6")]
    covers: Option<VersionVector>,
}

/// `1 answer, 2 wrong, 3 collections, 4 collection, 5 failed, 6 matched, 7 not_owner`
#[derive(prost::Message)]
pub struct PartBody {
    #[prost(oneof = "PartKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<PartKind>,
}

#[derive(prost::Oneof)]
pub enum PartKind {
    #[prost(message, tag = "1")]
    Answer(ScoredAnswer),
    #[prost(string, tag = "2")]
    Wrong(String),
    #[prost(message, tag = "3")]
    Collections(Collections),
    #[prost(message, tag = "4")]
    Collection(Collection),
    #[prost(string, tag = "5")]
    Failed(String),
    #[prost(message, tag = "6")]
    Matched(Matched),
    #[prost(uint64, tag = "7")]
    NotOwner(u64),
}

/// `1 answer, 2 smallest_first`
#[derive(prost::Message)]
pub struct ScoredAnswer {
    #[prost(message, optional, tag = "1")]
    answer: Option<Answer>,
    #[prost(bool, tag = "2")]
    smallest_first: bool,
}

/// `1 collections`
#[derive(prost::Message)]
pub struct Collections {
    #[prost(message, repeated, tag = "1")]
    collections: Vec<CollectionDef>,
}

/// `1 uid, 2 def, 3 points, 4 indexed`
#[derive(prost::Message)]
pub struct Collection {
    #[prost(fixed64, tag = "1")]
    uid: u64,
    #[prost(message, optional, tag = "2")]
    def: Option<CollectionDef>,
    #[prost(uint64, tag = "3")]
    points: u64,
    #[prost(uint64, tag = "4")]
    indexed: u64,
}

/// `1 points: {1 point, 2 stamp}, 2 next (optional), 3 read_at`
#[derive(prost::Message)]
pub struct Matched {
    #[prost(message, repeated, tag = "1")]
    points: Vec<MatchedPoint>,
    #[prost(message, optional, tag = "2")]
    next: Option<PointId>,
    #[prost(uint64, tag = "3")]
    read_at: u64,
}

#[derive(prost::Message)]
pub struct MatchedPoint {
    #[prost(message, optional, tag = "1")]
    point: Option<PointId>,
    #[prost(message, optional, tag = "2")]
    stamp: Option<Stamp>,
}

impl From<&frame::ShardAnswer> for ShardAnswer {
    fn from(answer: &frame::ShardAnswer) -> Self {
        use ShardAnswerKind as K;
        use frame::ShardAnswer as A;
        let some = |covers: &model::VersionVector| Some(covers.into());
        let kind = match answer {
            A::Written(seq, covers) => K::Written(Written { seq: seq.0, covers: some(covers) }),
            A::Created(uid, covers) => K::Created(Created { uid: uid.0, covers: some(covers) }),
            A::Exists => K::Exists(()),
            A::Dropped { existed, upto, covers } => {
                K::Dropped(Dropped { existed: *existed, upto: upto.0, covers: some(covers) })
            }
            A::Resolved(definition) => K::Resolved(Resolved { definition: definition.as_ref().map(Definition::from) }),
            A::Part(part) => K::Part(part.into()),
            A::NoCollection => K::NoCollection(()),
            A::Wrong(why) => K::Wrong(why.clone()),
            A::NotLeader(leader) => K::NotLeader(NotLeader { leader: leader.map(|id| id.0) }),
            A::NotOwner(version) => K::NotOwner(version.0),
            A::Busy(why) => K::Busy(why.clone()),
            A::Full => K::Full(()),
            A::Definitions { largest, standing } => {
                K::Definitions(Definitions { largest: largest.0, standing: messages(standing) })
            }
            A::Reached(reached) => K::Reached(*reached),
            A::Conditional { last, covers, retry } => {
                K::Conditional(Conditional { last: last.0, covers: some(covers), retry: retry.clone() })
            }
            A::Forgotten => K::Forgotten(()),
            A::Overloaded(why) => K::Overloaded(why.clone()),
            A::SteppedDown => K::SteppedDown(()),
            A::Unsupported(why) => K::Unsupported(why.clone()),
            A::Unknown => return Self { kind: None },
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<ShardAnswer> for frame::ShardAnswer {
    type Error = Fault;

    fn try_from(answer: ShardAnswer) -> Result<Self, Fault> {
        use ShardAnswerKind as K;
        let covers = |covers: Option<VersionVector>| required::<_, model::VersionVector>("answer.covers", covers);
        Ok(match known("shard answer", answer.kind)? {
            K::Written(written) => Self::Written(Seq(written.seq), covers(written.covers)?),
            K::Created(created) => Self::Created(CollectionUid(created.uid), covers(created.covers)?),
            K::Exists(()) => Self::Exists,
            K::Dropped(dropped) => Self::Dropped {
                existed: dropped.existed,
                upto: CollectionUid(dropped.upto),
                covers: covers(dropped.covers)?,
            },
            K::Resolved(resolved) => Self::Resolved(optional(resolved.definition)?),
            K::Part(part) => Self::Part(part.try_into()?),
            K::NoCollection(()) => Self::NoCollection,
            K::Wrong(why) => Self::Wrong(why),
            K::NotLeader(NotLeader { leader }) => Self::NotLeader(replica(leader)),
            K::NotOwner(version) => Self::NotOwner(TableVersion(version)),
            K::Busy(why) => Self::Busy(why),
            K::Full(()) => Self::Full,
            K::Definitions(Definitions { largest, standing }) => {
                Self::Definitions { largest: CollectionUid(largest), standing: list(standing)? }
            }
            K::Reached(reached) => Self::Reached(reached),
            K::Conditional(done) => {
                Self::Conditional { last: Seq(done.last), covers: covers(done.covers)?, retry: done.retry }
            }
            K::Forgotten(()) => Self::Forgotten,
            K::Overloaded(why) => Self::Overloaded(why),
            K::SteppedDown(()) => Self::SteppedDown,
            K::Unsupported(why) => Self::Unsupported(why),
        })
    }
}

impl From<&frame::ReadPart> for Part {
    fn from(part: &frame::ReadPart) -> Self {
        Self {
            body: part.body.as_ref().map(PartBody::from),
            kept: part.kept,
            waited: part.waited,
            age: Some((&part.age).into()),
            took: Some((&part.took).into()),
            covers: Some((&part.covers).into()),
        }
    }
}

impl TryFrom<Part> for frame::ReadPart {
    type Error = Fault;

    fn try_from(part: Part) -> Result<Self, Fault> {
        Ok(Self {
            body: optional(part.body)?,
            kept: part.kept,
            waited: part.waited,
            age: required("part.age", part.age)?,
            took: required("part.took", part.took)?,
            covers: required::<_, model::VersionVector>("part.covers", part.covers)?,
        })
    }
}

impl From<&frame::PartBody> for PartBody {
    fn from(body: &frame::PartBody) -> Self {
        use frame::PartBody as B;
        let kind = match body {
            B::Answer { answer, smallest_first } => {
                PartKind::Answer(ScoredAnswer { answer: Some(answer.into()), smallest_first: *smallest_first })
            }
            B::Wrong(why) => PartKind::Wrong(why.clone()),
            B::Collections(collections) => PartKind::Collections(Collections { collections: messages(collections) }),
            B::Collection { uid, def, points, indexed } => PartKind::Collection(Collection {
                uid: uid.0,
                def: Some(def.into()),
                points: *points,
                indexed: *indexed,
            }),
            B::Failed(why) => PartKind::Failed(why.clone()),
            B::Matched { points, next, read_at } => {
                let point = |(point, stamp): &(model::PointId, model::Stamp)| MatchedPoint {
                    point: Some(point.into()),
                    stamp: Some(stamp.into()),
                };
                PartKind::Matched(Matched {
                    points: points.iter().map(point).collect(),
                    next: next.as_ref().map(PointId::from),
                    read_at: read_at.0,
                })
            }
            B::NotOwner(version) => PartKind::NotOwner(version.0),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<PartBody> for frame::PartBody {
    type Error = Fault;

    fn try_from(body: PartBody) -> Result<Self, Fault> {
        Ok(match known("part of a read", body.kind)? {
            PartKind::Answer(ScoredAnswer { answer, smallest_first }) => {
                Self::Answer { answer: required("part.answer", answer)?, smallest_first }
            }
            PartKind::Wrong(why) => Self::Wrong(why),
            PartKind::Collections(Collections { collections }) => Self::Collections(list(collections)?),
            PartKind::Collection(Collection { uid, def, points, indexed }) => {
                Self::Collection { uid: CollectionUid(uid), def: required("part.def", def)?, points, indexed }
            }
            PartKind::Failed(why) => Self::Failed(why),
            PartKind::Matched(Matched { points, next, read_at }) => {
                let point = |held: MatchedPoint| {
                    Ok((required("matched.point", held.point)?, required("matched.stamp", held.stamp)?))
                };
                Self::Matched {
                    points: points.into_iter().map(point).collect::<Result<_, Fault>>()?,
                    next: optional(next)?,
                    read_at: index(read_at),
                }
            }
            PartKind::NotOwner(version) => Self::NotOwner(TableVersion(version)),
        })
    }
}
