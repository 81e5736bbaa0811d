//! Requests in progress.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Body, Reply, Request};
use meridian_model::{LogIndex, ShardNumber, VersionVector};
use meridian_proto::frame::{NodeId, ShardAnswer, ShardCall};

use crate::Caller;
use crate::filtered::FilteredDelete;
use crate::reads::ReadProgress;
use crate::region::Relay;

/// Time without an answer after which a call is also sent to another replica. Earlier calls continue, and the first
/// answer counts.
const PATIENCE: Duration = Duration::from_millis(400);
/// Each replica that has a read and does not answer doubles the wait, at most this often: slow replicas must not all do
/// the same work.
const DOUBLINGS: usize = 5;

/// A request in progress.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    pub(crate) arrived: Duration,
    /// Arrival by the clock of ages.
    pub(crate) arrived_age: Duration,
    pub(crate) deadline: Duration,
    pub(crate) phase: Phase,
    pub(crate) sub_requests: BTreeMap<ShardNumber, SubRequest>,
    /// For each shard to which a change was sent, an entry applied before.
    pub(crate) sent_at: BTreeMap<ShardNumber, LogIndex>,
    /// An attempt of the change was not refused: it may have been performed, in part or entirely, or may still be.
    pub(crate) may_have_happened: bool,
}

impl Pending {
    /// Returns true if it may be sent to another gateway again: there a write is recognized by its id, but a delete by
    /// filter would be evaluated again.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !matches!(self.request.body, Body::DeleteByFilter { .. })
    }
}

/// The phase of a request: the purpose of its sub-requests.
#[derive(Debug)]
pub(crate) enum Phase {
    Write,
    /// A write found an unknown collection, whose definition is requested from shard 1.
    ResolveCollection,
    CreateOnFirstShard,
    CreateOnOthers(VersionVector),
    DropOnFirstShard,
    DropOnOthers {
        existed: bool,
        covers: VersionVector,
    },
    Read(ReadProgress),
    DeleteByFilter(FilteredDelete),
    /// The request is forwarded to the primary region.
    Relay(Relay),
    /// The primary region has acknowledged the write, which may not be visible here yet.
    AwaitVisible(Reply),
}

/// The part of a request that one shard answers.
#[derive(Debug)]
pub(crate) struct SubRequest {
    pub(crate) call: ShardCall,
    /// Only the leader can answer.
    pub(crate) leader: bool,
    /// Unanswered calls. A replica gets a repeat under the same number, and does not start a read again that it already
    /// works on.
    pub(crate) sent: Vec<Sent>,
    pub(crate) attempt: usize,
    /// Start of the attempt that the answer belongs to, by the clock of ages.
    pub(crate) sent_at: Duration,
    pub(crate) again_at: Duration,
    pub(crate) answer: Option<ShardAnswer>,
    /// Failure of the last attempt.
    pub(crate) fault: String,
}

/// An unanswered call to a replica.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: NodeId,
    /// Its number.
    pub(crate) call: u64,
    /// Number of copies sent under that number. An answer belongs to one of them.
    pub(crate) copies: u32,
    /// Start by the clock of ages; for a repeat, that of the first copy, so that no answer seems younger.
    pub(crate) at: Duration,
}

impl SubRequest {
    /// Time before another replica is tried.
    pub(crate) fn patience(&self) -> Duration {
        let doublings = if self.call.is_read() { self.sent.len().saturating_sub(1).min(DOUBLINGS) } else { 0 };
        PATIENCE * (1 << doublings)
    }
}
