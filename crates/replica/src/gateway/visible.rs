//! `wait=true` at a secondary region: once the primary region has acknowledged, the leaders of the local shards are asked
//! until each has applied and published the write, or the time for it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_model::client::{Body, Reply, ReplyBody};
use meridian_model::{ShardNumber, VersionVector};
use meridian_proto::frame::{ShardAnswer, ShardCall};

use super::Plan;
use crate::Replica;
use crate::injection::InjectedBug;
use crate::shard_calls::Requester;

/// A leader keeps a question open for this long; then it is asked again. Shorter than the gateway's patience with a replica.
const PARKED_FOR: Duration = Duration::from_millis(300);
/// Questions that a leader keeps open; more are refused for the moment.
const PARKED: usize = 16_384;

/// A question for positions that are not applied yet.
#[derive(Debug)]
pub(crate) struct Parked {
    from: Requester,
    positions: VersionVector,
    until: Duration,
}

impl Replica {
    /// The primary region has acknowledged. A write without `wait` is answered at once.
    pub(super) fn begin_visible(&mut self, number: u64, reply: Reply) {
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let Some(wait) = ask.request.wait else { return self.finish_acknowledged(number, reply) };
        if self.settings.injects(InjectedBug::VisibleTooEarly) {
            return self.finish_with(number, reply);
        }
        ask.deadline = ask.deadline.min(ask.arrived + wait);
        let shards: BTreeSet<ShardNumber> = match &ask.request.body {
            Body::Write { ops, .. } => ops.iter().map(|op| self.state.table().shard_of(op.point())).collect(),
            _ => ShardNumber::all(self.identity.genesis.shards).collect(),
        };
        let call = ShardCall::Await(reply.freshness.token.clone());
        let calls = shards.into_iter().map(|shard| (shard, true, call.clone())).collect();
        self.fan_out(number, Plan::Visible(reply), calls);
    }

    /// Every leader has said that the write is visible.
    pub(super) fn visible(&mut self, number: u64, reply: Reply) {
        self.finish_with(number, reply);
    }

    /// The write is safe at the primary region, and it is not certain that it is visible here.
    pub(super) fn finish_acknowledged(&mut self, number: u64, reply: Reply) {
        let body = match reply.body {
            Ok(ReplyBody::Written(seq)) => Ok(ReplyBody::Acknowledged(seq)),
            other => other,
        };
        self.finish_with(number, Reply { body, ..reply });
    }

    /// A gateway asks this leader for positions: answered when they are applied, or after a while that they are not.
    pub(crate) fn await_positions(&mut self, from: Requester, positions: VersionVector) {
        if self.covers(self.state.vv(), &positions) {
            return self.answer(from, ShardAnswer::Reached(true));
        }
        if self.parked.len() >= PARKED {
            return self.answer(from, ShardAnswer::Busy(format!("{PARKED} writes wait until they are visible")));
        }
        let until = self.now.mono + PARKED_FOR;
        self.parked.push(Parked { from, positions, until });
    }

    /// The state moved on, or time did.
    pub(crate) fn recheck_parked(&mut self) {
        let now = self.now.mono;
        for parked in std::mem::take(&mut self.parked) {
            if self.covers(self.state.vv(), &parked.positions) {
                self.answer(parked.from, ShardAnswer::Reached(true));
            } else if parked.until <= now {
                self.answer(parked.from, ShardAnswer::Reached(false));
            } else {
                self.parked.push(parked);
            }
        }
    }

    /// Only a leader's word counts: what it has applied, every linearizable read of the shard sees.
    pub(crate) fn fail_parked(&mut self) {
        for parked in std::mem::take(&mut self.parked) {
            self.answer(parked.from, ShardAnswer::NotLeader(None));
        }
    }
}
