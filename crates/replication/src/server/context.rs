//! What a server is lent while it handles an event.

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

    /// The committed entry at this index; `None` when the log does not hold it, or holds no entry of the shard there.
    fn entry(&self, index: LogIndex) -> Option<Entry>;
}

/// The time, the state, the log, and where effects go. A server keeps none of it.
pub struct Ctx<'a> {
    /// The boot clock.
    pub now: Duration,
    /// This replica.
    pub me: NodeId,
    /// Shards of its region.
    pub shards: u16,
    /// The state.
    pub state: &'a State,
    /// The log.
    pub log: &'a dyn Log,
    /// Others may rely on what this replica holds, and it holds what was committed when it started.
    pub is_trusted: bool,
    /// This replica leads its group.
    pub is_leading: bool,
    /// The statement on the own log that counts here.
    pub statement: Option<Statement>,
    /// About how many bytes of points go into one page of a re-seed.
    pub seed_page_bytes: usize,
    /// The reachable replicas of a shard, in the order in which they are asked.
    pub candidates: &'a dyn Fn(ShardNumber) -> Vec<NodeId>,
    /// Numbers of calls.
    pub numbers: &'a mut CallNumbers,
    /// What is to be done, in order.
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
