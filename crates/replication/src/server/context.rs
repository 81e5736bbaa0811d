//! Context of a server while it handles an event.

use std::time::Duration;

use meridian_model::{LogIndex, ShardNumber, Statement};
use meridian_proto::frame::{CallAnswer, CallNumbers, NodeId, PeerMessage, RegionAnswer, RegionMessage, TailAnswer};
use meridian_shard::{Entry, State};

use super::Reader;
use crate::Effect;

/// The log of the group of this shard.
pub trait Log {
    /// Index of the first entry that the log holds.
    fn first_index(&self) -> LogIndex;

    /// The committed entry at this index; `None` if the log does not hold it or it is no entry of the shard.
    fn entry(&self, index: LogIndex) -> Option<Entry>;
}

/// Time, state, log and effect buffer, borrowed for one event.
pub struct Ctx<'a> {
    /// The boot clock.
    pub now: Duration,
    /// This replica.
    pub me: NodeId,
    /// Number of shards of the region.
    pub shards: u16,
    /// The state.
    pub state: &'a State,
    /// The log.
    pub log: &'a dyn Log,
    /// The state is not in doubt, and entries committed before the start are applied.
    pub is_trusted: bool,
    /// This replica leads its group.
    pub is_leading: bool,
    /// The newest completeness statement on the own log whose position is applied here.
    pub statement: Option<Statement>,
    /// Approximate size of a re-seed page, in bytes of points.
    pub seed_page_bytes: usize,
    /// The reachable replicas of a shard, in the order in which they are tried.
    pub candidates: &'a dyn Fn(ShardNumber) -> Vec<NodeId>,
    /// Allocator of call numbers.
    pub numbers: &'a mut CallNumbers,
    /// Resulting effects, in order.
    pub effects: &'a mut Vec<Effect>,
}

impl Ctx<'_> {
    pub(super) fn send(&mut self, to: &Reader, answer: TailAnswer) {
        self.effects.push(match to {
            Reader::Node(node, call) => Effect::Send(*node, PeerMessage::Answer(*call, CallAnswer::Tail(answer))),
            Reader::Region(peer, call) => {
                Effect::SendRegion(peer.clone(), RegionMessage::Answer(*call, RegionAnswer::Tail(answer)))
            }
        });
    }
}
