//! Messages between two replicas of a region.

use std::time::Duration;

use meridian_model as model;
use meridian_model::{BehaviorVersion, Term};

use super::delta_log::{TailAnswer, TailCall};
use super::fields::{
    Enumerated, Fault, TimeSpan, answer_or, array, behavior_or_first, call_or, enumerated, known, later_than_first,
    list, messages, required,
};
use super::ids::{Member, OriginShard, Statement, index};
use super::shard_answers::ShardAnswer;
use super::shard_calls::ShardCall;
use crate::frame;

/// `1 raft (opaque), 2 lead, 3 call, 4 answer, 5 complete, 6 cancel (number of a call), 7 disk`
#[derive(prost::Message)]
pub struct PeerMessage {
    #[prost(oneof = "PeerKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<PeerKind>,
}

/// Tag of a Raft message in [`PeerMessage`].
pub const RAFT_TAG: u32 = 1;

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum PeerKind {
    #[prost(bytes = "vec", tag = "1")]
    Raft(Vec<u8>),
    #[prost(message, tag = "2")]
    Lead(Lead),
    #[prost(message, tag = "3")]
    Call(Call),
    #[prost(message, tag = "4")]
    Answer(Answer),
    #[prost(message, tag = "5")]
    Complete(Complete),
    #[prost(fixed64, tag = "6")]
    Cancel(u64),
    #[prost(message, tag = "7")]
    Disk(Disk),
}

/// `1 term, 2 members, 3 applied, 4 behavior (version; absent: 1)`
#[derive(prost::Message)]
pub struct Lead {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(message, repeated, tag = "2")]
    members: Vec<Member>,
    #[prost(uint64, tag = "3")]
    applied: u64,
    #[prost(uint32, optional, tag = "4")]
    behavior: Option<u32>,
}

/// `1 statements: {1 origin, 2 statement, 3 age}`
#[derive(prost::Message)]
pub struct Complete {
    #[prost(message, repeated, tag = "1")]
    statements: Vec<Aged>,
}

#[derive(prost::Message)]
pub struct Aged {
    #[prost(message, optional, tag = "1")]
    origin: Option<OriginShard>,
    #[prost(message, optional, tag = "2")]
    statement: Option<Statement>,
    #[prost(message, optional, tag = "3")]
    age: Option<TimeSpan>,
}

/// `1 level, 2 quorum_has_space, 3 handing_over`
#[derive(prost::Message)]
pub struct Disk {
    #[prost(uint32, optional, tag = "1")]
    level: Option<u32>,
    #[prost(bool, tag = "2")]
    quorum_has_space: bool,
    #[prost(bool, tag = "3")]
    handing_over: bool,
}

/// `1 number; 2 shard, 3 tail, 4 chunk, 5 snapshot (at_least), 6 compare, 7 clock`
#[derive(prost::Message)]
pub struct Call {
    #[prost(fixed64, tag = "1")]
    number: u64,
    #[prost(oneof = "CallKind", tags = "2, 3, 4, 5, 6, 7")]
    kind: Option<CallKind>,
}

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum CallKind {
    #[prost(message, tag = "2")]
    Shard(ShardCall),
    #[prost(message, tag = "3")]
    Tail(TailCall),
    #[prost(message, tag = "4")]
    Chunk(Chunk),
    #[prost(uint64, tag = "5")]
    Snapshot(u64),
    #[prost(message, tag = "6")]
    Compare(Compare),
    #[prost(message, tag = "7")]
    Clock(()),
}

/// `1 snapshot, 2 file, 3 offset, 4 len`
#[derive(prost::Message)]
pub struct Chunk {
    #[prost(uint64, tag = "1")]
    snapshot: u64,
    #[prost(string, tag = "2")]
    file: String,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(uint32, tag = "4")]
    len: u32,
}

/// `1 at, 2 hash`
#[derive(prost::Message)]
pub struct Compare {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(bytes = "vec", tag = "2")]
    hash: Vec<u8>,
}

/// `1 number; 2 shard, 3 tail, 4 chunk, 5 snapshot (manifest), 6 compared, 7 clock, 8 unsupported`
#[derive(prost::Message)]
pub struct Answer {
    #[prost(fixed64, tag = "1")]
    number: u64,
    #[prost(oneof = "AnswerKind", tags = "2, 3, 4, 5, 6, 7, 8")]
    kind: Option<AnswerKind>,
}

#[derive(prost::Oneof)]
pub enum AnswerKind {
    #[prost(message, tag = "2")]
    Shard(ShardAnswer),
    #[prost(message, tag = "3")]
    Tail(TailAnswer),
    #[prost(message, tag = "4")]
    Chunk(Blob),
    #[prost(message, tag = "5")]
    Snapshot(Blob),
    #[prost(message, tag = "6")]
    Compared(Compared),
    #[prost(message, tag = "7")]
    Clock(TimeSpan),
    #[prost(string, tag = "8")]
    Unsupported(String),
}

/// `1 bytes (optional)`
#[derive(prost::Message)]
pub struct Blob {
    #[prost(bytes = "vec", optional, tag = "1")]
    bytes: Option<Vec<u8>>,
}

/// `1 at, 2 hash (optional)`
#[derive(prost::Message)]
pub struct Compared {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(bytes = "vec", optional, tag = "2")]
    hash: Option<Vec<u8>>,
}

impl From<&frame::PeerMessage> for PeerMessage {
    fn from(message: &frame::PeerMessage) -> Self {
        let kind = match message {
            frame::PeerMessage::Raft(bytes) => PeerKind::Raft(bytes.clone()),
            frame::PeerMessage::Lead(lead) => PeerKind::Lead(Lead {
                term: lead.term.0,
                members: messages(&lead.members),
                applied: lead.applied.0,
                behavior: later_than_first(lead.behavior),
            }),
            frame::PeerMessage::Call(number, call) => {
                PeerKind::Call(Call { number: *number, kind: Option::<CallKind>::from(call) })
            }
            frame::PeerMessage::Answer(number, answer) => {
                PeerKind::Answer(Answer { number: *number, kind: Option::<AnswerKind>::from(answer) })
            }
            frame::PeerMessage::Complete(statements) => {
                let aged = |(origin, statement, age): &(model::OriginShard, model::Statement, Duration)| Aged {
                    origin: Some(origin.into()),
                    statement: Some(statement.into()),
                    age: Some(age.into()),
                };
                PeerKind::Complete(Complete { statements: statements.iter().map(aged).collect() })
            }
            frame::PeerMessage::Cancel(number) => PeerKind::Cancel(*number),
            frame::PeerMessage::Disk(notice) => PeerKind::Disk(Disk {
                level: Some(notice.level.number()),
                quorum_has_space: notice.quorum_has_space,
                handing_over: notice.handing_over,
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<PeerMessage> for frame::PeerMessage {
    type Error = Fault;

    fn try_from(message: PeerMessage) -> Result<Self, Fault> {
        Ok(match known("message", message.kind)? {
            PeerKind::Raft(bytes) => Self::Raft(bytes),
            PeerKind::Lead(Lead { term, members, applied, behavior }) => Self::Lead(frame::Lead {
                term: Term(term),
                members: list(members)?,
                applied: index(applied),
                behavior: behavior_or_first("lead.behavior", behavior)?,
            }),
            PeerKind::Call(Call { number, kind }) => {
                let call = known("call", kind).and_then(frame::Call::try_from);
                Self::Call(number, call_or(call, frame::Call::Unsupported)?)
            }
            PeerKind::Answer(Answer { number, kind }) => {
                let answer = known("answer", kind).and_then(frame::CallAnswer::try_from);
                Self::Answer(number, answer_or(answer, frame::CallAnswer::Unknown)?)
            }
            PeerKind::Complete(Complete { statements }) => {
                let aged = |held: Aged| {
                    let statement = required("complete.statement", held.statement)?;
                    let age = required("complete.age", held.age)?;
                    Ok((required("complete.origin", held.origin)?, statement, age))
                };
                Self::Complete(statements.into_iter().map(aged).collect::<Result<_, Fault>>()?)
            }
            PeerKind::Cancel(number) => Self::Cancel(number),
            PeerKind::Disk(Disk { level, quorum_has_space, handing_over }) => {
                let level = enumerated("disk.level", level)?;
                Self::Disk(frame::DiskNotice { level, quorum_has_space, handing_over })
            }
        })
    }
}

impl From<&frame::Call> for Option<CallKind> {
    fn from(call: &frame::Call) -> Self {
        Some(match call {
            frame::Call::Shard(needs, call) => CallKind::Shard((*needs, call).into()),
            frame::Call::Tail(call) => CallKind::Tail(call.into()),
            frame::Call::Chunk { snapshot, file, offset, len } => {
                CallKind::Chunk(Chunk { snapshot: *snapshot, file: file.clone(), offset: *offset, len: *len })
            }
            frame::Call::Snapshot { at_least } => CallKind::Snapshot(at_least.0),
            frame::Call::Compare { at, hash } => CallKind::Compare(Compare { at: at.0, hash: hash.to_vec() }),
            frame::Call::Clock => CallKind::Clock(()),
            frame::Call::Unsupported(_) => return None,
        })
    }
}

impl TryFrom<CallKind> for frame::Call {
    type Error = Fault;

    fn try_from(call: CallKind) -> Result<Self, Fault> {
        Ok(match call {
            CallKind::Shard(call) => {
                let (needs, call) = <(BehaviorVersion, frame::ShardCall)>::try_from(call)?;
                Self::Shard(needs, call)
            }
            CallKind::Tail(call) => Self::Tail(call.try_into()?),
            CallKind::Chunk(Chunk { snapshot, file, offset, len }) => Self::Chunk { snapshot, file, offset, len },
            CallKind::Snapshot(at_least) => Self::Snapshot { at_least: index(at_least) },
            CallKind::Compare(Compare { at, hash }) => {
                Self::Compare { at: index(at), hash: array("compare.hash", &hash)? }
            }
            CallKind::Clock(()) => Self::Clock,
        })
    }
}

impl From<&frame::CallAnswer> for Option<AnswerKind> {
    fn from(answer: &frame::CallAnswer) -> Self {
        Some(match answer {
            frame::CallAnswer::Shard(answer) => AnswerKind::Shard(answer.into()),
            frame::CallAnswer::Tail(answer) => AnswerKind::Tail(answer.into()),
            frame::CallAnswer::Chunk(bytes) => AnswerKind::Chunk(Blob { bytes: bytes.clone() }),
            frame::CallAnswer::Snapshot(manifest) => AnswerKind::Snapshot(Blob { bytes: manifest.clone() }),
            frame::CallAnswer::Compared(at, hash) => {
                AnswerKind::Compared(Compared { at: at.0, hash: hash.map(|hash| hash.to_vec()) })
            }
            frame::CallAnswer::Clock(wall) => AnswerKind::Clock(wall.into()),
            frame::CallAnswer::Unsupported(why) => AnswerKind::Unsupported(why.clone()),
            frame::CallAnswer::Unknown => return None,
        })
    }
}

impl TryFrom<AnswerKind> for frame::CallAnswer {
    type Error = Fault;

    fn try_from(answer: AnswerKind) -> Result<Self, Fault> {
        Ok(match answer {
            AnswerKind::Shard(answer) => Self::Shard(answer_or(answer.try_into(), frame::ShardAnswer::Unknown)?),
            AnswerKind::Tail(answer) => Self::Tail(answer.try_into()?),
            AnswerKind::Chunk(Blob { bytes }) => Self::Chunk(bytes),
            AnswerKind::Snapshot(Blob { bytes }) => Self::Snapshot(bytes),
            AnswerKind::Compared(Compared { at, hash }) => {
                let hash = hash.map(|hash| array("compared.hash", &hash)).transpose()?;
                Self::Compared(index(at), hash)
            }
            AnswerKind::Clock(wall) => Self::Clock(wall.try_into()?),
            AnswerKind::Unsupported(why) => Self::Unsupported(why),
        })
    }
}
