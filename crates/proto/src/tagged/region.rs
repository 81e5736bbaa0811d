//! Messages between regions.

use meridian_model::BehaviorVersion;
use meridian_model::client;

use super::client::Request;
use super::delta_log::{TailAnswer, TailCall};
use super::fields::{Fault, answer_or, behavior, call_or, known, needs, required};
use super::ids::shard;
use super::replies::Reply;
use crate::frame;

/// `1 call, 2 answer, 3 cancel (number of a call)`
#[derive(prost::Message)]
pub struct RegionMessage {
    #[prost(oneof = "RegionKind", tags = "1, 2, 3")]
    kind: Option<RegionKind>,
}

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum RegionKind {
    #[prost(message, tag = "1")]
    Call(RegionCall),
    #[prost(message, tag = "2")]
    Answer(RegionAnswer),
    #[prost(fixed64, tag = "3")]
    Cancel(u64),
}

/// `1 number; 2 ask, 3 tail, 4 behavior`
#[derive(prost::Message)]
pub struct RegionCall {
    #[prost(fixed64, tag = "1")]
    number: u64,
    #[prost(oneof = "RegionCallKind", tags = "2, 3, 4")]
    kind: Option<RegionCallKind>,
}

#[derive(prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives while one message is encoded or decoded")]
pub enum RegionCallKind {
    #[prost(message, tag = "2")]
    Ask(RelayedRequest),
    #[prost(message, tag = "3")]
    Tail(ShardTail),
    #[prost(message, tag = "4")]
    Behavior(()),
}

/// `1 needs (behavior version), 2 request`
#[derive(prost::Message)]
pub struct RelayedRequest {
    #[prost(uint32, tag = "1")]
    needs: u32,
    #[prost(message, optional, tag = "2")]
    request: Option<Request>,
}

/// `1 shard, 2 call`
#[derive(prost::Message)]
pub struct ShardTail {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(message, optional, tag = "2")]
    call: Option<TailCall>,
}

/// `1 number; 2 reply, 3 tail, 4 unsupported, 5 behavior (version)`
#[derive(prost::Message)]
pub struct RegionAnswer {
    #[prost(fixed64, tag = "1")]
    number: u64,
    #[prost(oneof = "RegionAnswerKind", tags = "2, 3, 4, 5")]
    kind: Option<RegionAnswerKind>,
}

#[derive(prost::Oneof)]
pub enum RegionAnswerKind {
    #[prost(message, tag = "2")]
    Reply(Reply),
    #[prost(message, tag = "3")]
    Tail(TailAnswer),
    #[prost(string, tag = "4")]
    Unsupported(String),
    #[prost(uint32, tag = "5")]
    Behavior(u32),
}

impl From<&frame::RegionMessage> for RegionMessage {
    fn from(message: &frame::RegionMessage) -> Self {
        let kind = match message {
            frame::RegionMessage::Call(number, call) => {
                RegionKind::Call(RegionCall { number: *number, kind: Option::<RegionCallKind>::from(call) })
            }
            frame::RegionMessage::Answer(number, answer) => {
                let kind = match answer {
                    frame::RegionAnswer::Reply(reply) => Some(RegionAnswerKind::Reply(reply.into())),
                    frame::RegionAnswer::Tail(answer) => Some(RegionAnswerKind::Tail(answer.into())),
                    frame::RegionAnswer::Behavior(version) => Some(RegionAnswerKind::Behavior(version.0.into())),
                    frame::RegionAnswer::Unsupported(why) => Some(RegionAnswerKind::Unsupported(why.clone())),
                    frame::RegionAnswer::Unknown => None,
                };
                RegionKind::Answer(RegionAnswer { number: *number, kind })
            }
            frame::RegionMessage::Cancel(number) => RegionKind::Cancel(*number),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<RegionMessage> for frame::RegionMessage {
    type Error = Fault;

    fn try_from(message: RegionMessage) -> Result<Self, Fault> {
        Ok(match known("message", message.kind)? {
            RegionKind::Call(RegionCall { number, kind }) => {
                let call = known("call", kind).and_then(frame::RegionCall::try_from);
                Self::Call(number, call_or(call, frame::RegionCall::Unsupported)?)
            }
            RegionKind::Answer(RegionAnswer { number, kind }) => {
                let answer = known("answer", kind).and_then(frame::RegionAnswer::try_from);
                Self::Answer(number, answer_or(answer, frame::RegionAnswer::Unknown)?)
            }
            RegionKind::Cancel(number) => Self::Cancel(number),
        })
    }
}

impl From<&frame::RegionCall> for Option<RegionCallKind> {
    fn from(call: &frame::RegionCall) -> Self {
        match call {
            frame::RegionCall::Ask(needs, request) => {
                Some(RegionCallKind::Ask(RelayedRequest { needs: needs.0.into(), request: Some(request.into()) }))
            }
            frame::RegionCall::Tail(shard, call) => {
                Some(RegionCallKind::Tail(ShardTail { shard: shard.number().into(), call: Some(call.into()) }))
            }
            frame::RegionCall::Behavior => Some(RegionCallKind::Behavior(())),
            frame::RegionCall::Unsupported(_) => None,
        }
    }
}

impl TryFrom<RegionCallKind> for frame::RegionCall {
    type Error = Fault;

    /// The version is looked at first: what needs a later one may hold anything.
    fn try_from(call: RegionCallKind) -> Result<Self, Fault> {
        Ok(match call {
            RegionCallKind::Ask(ask) => {
                let needs: BehaviorVersion = needs(ask.needs)?;
                Self::Ask(needs, required::<_, client::Request>("ask.request", ask.request)?)
            }
            RegionCallKind::Tail(tail) => {
                Self::Tail(shard("tail.shard", tail.shard)?, required("tail.call", tail.call)?)
            }
            RegionCallKind::Behavior(()) => Self::Behavior,
        })
    }
}

impl TryFrom<RegionAnswerKind> for frame::RegionAnswer {
    type Error = Fault;

    fn try_from(answer: RegionAnswerKind) -> Result<Self, Fault> {
        Ok(match answer {
            RegionAnswerKind::Reply(reply) => Self::Reply(reply.try_into()?),
            RegionAnswerKind::Tail(answer) => Self::Tail(answer.try_into()?),
            RegionAnswerKind::Unsupported(why) => Self::Unsupported(why),
            RegionAnswerKind::Behavior(version) => Self::Behavior(behavior("answer.behavior", version)?),
        })
    }
}
