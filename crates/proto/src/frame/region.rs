//! Messages between regions. Any pod of a region accepts them and relays them to the right shard.

use meridian_model::ShardNumber;
use meridian_model::client::{Reply, Request};
use serde::{Deserialize, Serialize};

use super::{TailAnswer, TailCall};

/// A message between regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and most of them are of the large kind")]
pub enum RegionCall {
    /// A client's request. The receiving region executes it and never relays it to a third one.
    Ask(Request),
    /// To the delta log of a shard.
    Tail(ShardNumber, TailCall),
}

/// The answer to a [`RegionCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegionAnswer {
    /// To `Ask`.
    Reply(Reply),
    /// To `Tail`.
    Tail(TailAnswer),
}
