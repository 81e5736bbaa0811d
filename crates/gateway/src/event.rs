//! Inputs and outputs of a gateway.

use meridian_model::client::{Reply, Request};
use meridian_model::{RegionName, ShardNumber};
use meridian_proto::frame::{NodeId, Peer, PeerMessage, RegionMessage, ShardAnswer, ShardCall};

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// A client of this pod.
    Ticket(u64),
    /// Another region, by connection and call number. The request must not be forwarded again.
    Region(Peer, u64),
}

/// An input.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are of the large kinds")]
pub enum Event {
    /// A client or another region sends a request.
    Request {
        /// The receiver of the reply.
        caller: Caller,
        /// The request.
        request: Request,
    },
    /// The caller is gone: a read is cancelled, a write continues.
    CallerGone(Caller),
    /// The answer of a shard.
    ShardAnswer {
        /// The replica that answered; `None` for the local one.
        from: Option<NodeId>,
        /// The number of the call.
        call: u64,
        /// The answer.
        answer: ShardAnswer,
    },
    /// The reply of another region.
    RegionReply {
        /// The number of the call.
        call: u64,
        /// The reply.
        reply: Reply,
    },
    /// A call to another region failed there.
    RegionCallFailed {
        /// The number of the call.
        call: u64,
        /// The reason for which that region does not support the call. `None` for an answer of a kind unknown to this
        /// build: the effect of the call is then unknown.
        unsupported: Option<String>,
    },
    /// Another region was heard.
    Heard(RegionName),
    /// A connection was lost.
    Lost(Peer),
    /// Time has passed.
    Tick,
    /// An [`Effect::Continue`].
    Step(Step),
}

/// Work to be done after the preceding effects and their consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sends the call of a request to a shard, to the next replica to try.
    SendSubRequest(u64, ShardNumber),
    /// Checks all requests that wait for the primary region.
    CheckRegions,
    /// Checks one of them.
    AdvanceRegion(u64),
}

/// An output.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// A message to a replica of this region; it may be lost.
    Send(NodeId, PeerMessage),
    /// A message to another region, or on a connection that it opened; it may be lost.
    SendRegion(Peer, RegionMessage),
    /// A call to the local replica under this number, answered by [`Event::ShardAnswer`].
    Call(u64, ShardCall),
    /// Cancels the read of this number at the local replica.
    CancelCall(u64),
    /// The reply to a client of this pod.
    Reply {
        /// The ticket of the request.
        ticket: u64,
        /// The reply.
        reply: Reply,
    },
    /// Handle [`Event::Step`] next.
    Continue(Step),
}
