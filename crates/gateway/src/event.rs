//! What goes into a gateway and what comes out.

use meridian_model::client::{Reply, Request};
use meridian_model::{RegionName, ShardNumber};
use meridian_proto::frame::{NodeId, Peer, PeerMessage, RegionMessage, ShardAnswer, ShardCall};

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// A client of this pod.
    Ticket(u64),
    /// Another region, on this connection under this number: the one hop between regions is spent.
    Region(Peer, u64),
}

/// Something happened.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are of the large kinds")]
pub enum Event {
    /// A client or another region sends a request.
    Request {
        /// Who gets the reply.
        caller: Caller,
        /// The request.
        request: Request,
    },
    /// Nobody waits for the reply any more: a read is ended, a write goes on.
    CallerGone(Caller),
    /// The answer of a shard.
    ShardAnswer {
        /// The replica that answered; none for the own one.
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
        /// Why that region does not support it; `None` for an answer of a kind that this build does not know: then it is
        /// unknown what the call did.
        unsupported: Option<String>,
    },
    /// Another region is there.
    Heard(RegionName),
    /// A party is no longer connected.
    Lost(Peer),
    /// Time passed.
    Tick,
    /// An [`Effect::Continue`].
    Step(Step),
}

/// A piece of work that comes after the effects before it, and all that follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sends the call of a request to a shard, to the replica whose turn it is.
    SendSubRequest(u64, ShardNumber),
    /// Looks after the requests that the primary region is to answer.
    CheckRegions,
    /// Looks after one of them.
    AdvanceRegion(u64),
}

/// Something is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// To a replica of this region; may be lost.
    Send(NodeId, PeerMessage),
    /// To another region, or on a connection that it opened; may be lost.
    SendRegion(Peer, RegionMessage),
    /// A call to the replica beside the gateway, under this number. Its answer is an [`Event::ShardAnswer`].
    Call(u64, ShardCall),
    /// The replica beside the gateway need not answer the read of this number.
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
