//! Messages between regions. Any pod of a region accepts them and relays them to the right shard.

use meridian_model::client::{Reply, Request};
use meridian_model::{BehaviorVersion, ShardNumber};

use super::{TailAnswer, TailCall, Unsupported};

/// A message between regions.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum RegionMessage {
    /// A call: number, call.
    Call(u64, RegionCall),
    /// An answer, under the number of the call. An open delta log has several.
    Answer(u64, RegionAnswer),
    /// The sender no longer waits for the answer to its call of this number. A read ends; a write continues.
    Cancel(u64),
}

/// A call to another region.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum RegionCall {
    /// A client's request, with the behavior version that it needs. The receiving region executes it and never relays it to
    /// a third one.
    Ask(BehaviorVersion, Request),
    /// To the delta log of a shard.
    Tail(ShardNumber, TailCall),
    /// Report the behavior version that each shard of the receiving region has finalized.
    Behavior,
    /// Received only: a call that this build cannot execute. It is answered with [`RegionAnswer::Unsupported`].
    Unsupported(Unsupported),
}

impl From<Request> for RegionCall {
    fn from(request: Request) -> Self {
        Self::Ask(request.body.needs(), request)
    }
}

/// The answer to a [`RegionCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum RegionAnswer {
    /// To `Ask`.
    Reply(Reply),
    /// To `Tail`.
    Tail(TailAnswer),
    /// To `Behavior`.
    Behavior(BehaviorVersion),
    /// The receiver does not support the call, for this reason; nothing was done.
    Unsupported(String),
    /// Received only: an answer of a kind that this build does not know. The call has failed; what it did is unknown.
    Unknown,
}
