//! A request under way.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Body, Reply, Request};
use meridian_model::{LogIndex, ShardNumber, VersionVector};
use meridian_proto::frame::{NodeId, ShardAnswer, ShardCall};

use crate::Caller;
use crate::filtered::FilteredDelete;
use crate::reads::ReadProgress;
use crate::region::Relay;

/// Without an answer in this time a call is sent to another replica too. What was sent before stays under way, and the
/// first answer counts.
const PATIENCE: Duration = Duration::from_millis(400);
/// Each replica that has a read and does not answer doubles the patience, this often at most: several that are slow must
/// not all do the same work.
const DOUBLINGS: usize = 5;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    pub(crate) arrived: Duration,
    /// By the clock of ages.
    pub(crate) arrived_age: Duration,
    pub(crate) deadline: Duration,
    pub(crate) phase: Phase,
    pub(crate) sub_requests: BTreeMap<ShardNumber, SubRequest>,
    /// Of each shard that a change was sent to, an entry that was applied before.
    pub(crate) sent_at: BTreeMap<ShardNumber, LogIndex>,
    /// An attempt at the change was not refused: it may have taken place, in part or in full, or may still do so.
    pub(crate) may_have_happened: bool,
}

impl Pending {
    /// Whether it may be sent to another gateway again: there a write is known by its id, but a delete by filter would be
    /// evaluated anew.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !matches!(self.request.body, Body::DeleteByFilter { .. })
    }
}

/// Where a request stands: what the answers to its sub-requests mean.
#[derive(Debug)]
pub(crate) enum Phase {
    Write,
    /// A write met an unknown collection: shard 1 is asked what it is.
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
    /// The primary region is to answer.
    Relay(Relay),
    /// It has acknowledged a write, which is not known to be visible here yet.
    AwaitVisible(Reply),
}

/// The part of a request that one shard answers.
#[derive(Debug)]
pub(crate) struct SubRequest {
    pub(crate) call: ShardCall,
    /// Only the leader can answer.
    pub(crate) leader: bool,
    /// Who has it and has not answered, and under which number. A replica gets a repeat under the same number, and a
    /// read that it works on already is not begun again.
    pub(crate) sent: Vec<Sent>,
    pub(crate) attempt: usize,
    /// When the attempt was sent that the answer belongs to, by the clock of ages.
    pub(crate) sent_at: Duration,
    pub(crate) again_at: Duration,
    pub(crate) answer: Option<ShardAnswer>,
    /// Why the last attempt was in vain.
    pub(crate) fault: String,
}

/// A call that a replica has and has not answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: NodeId,
    /// Its number.
    pub(crate) call: u64,
    /// How often it was sent under that number. An answer belongs to one of the copies.
    pub(crate) copies: u32,
    /// By the clock of ages; of a repeat under the same number, that of the first, so that no answer seems younger.
    pub(crate) at: Duration,
}

impl SubRequest {
    /// How long to wait before another replica is tried.
    pub(crate) fn patience(&self) -> Duration {
        let doublings = if self.call.is_read() { self.sent.len().saturating_sub(1).min(DOUBLINGS) } else { 0 };
        PATIENCE * (1 << doublings)
    }
}
