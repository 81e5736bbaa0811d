//! `wait=true` at a secondary region: after the acknowledgement of the primary region, the leaders of the local shards
//! are queried until each has applied and published the write, or the deadline expires.

use std::collections::BTreeSet;

use meridian_model::ShardNumber;
use meridian_model::client::{Body, Reply, ReplyBody};
use meridian_proto::frame::ShardCall;

use crate::settings::InjectedBug;
use crate::{Ctx, Gateway, Phase};

impl Gateway {
    /// The primary region has acknowledged. A write without `wait` is answered immediately.
    pub(super) fn await_visible(&mut self, cx: &mut Ctx<'_>, number: u64, reply: Reply) {
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let Some(wait) = pending.request.wait else { return self.finish_acknowledged(cx, number, reply) };
        if self.settings.injects(InjectedBug::VisibleTooEarly) {
            return self.finish_with(cx, number, reply);
        }
        pending.deadline = pending.deadline.min(pending.arrived + wait);
        let shards: BTreeSet<ShardNumber> = match &pending.request.body {
            Body::Write { ops, .. } => ops.iter().map(|op| cx.table.shard_of(op.point())).collect(),
            _ => ShardNumber::all(cx.shards).collect(),
        };
        let call = ShardCall::Await(reply.freshness.token.clone());
        let calls = shards.into_iter().map(|shard| (shard, true, call.clone())).collect();
        self.begin_phase(cx, number, Phase::AwaitVisible(reply), calls);
    }

    /// Every leader has reported the write as visible.
    pub(super) fn finish_visible(&mut self, cx: &mut Ctx<'_>, number: u64, reply: Reply) {
        self.finish_with(cx, number, reply);
    }

    /// The write is safe at the primary region, but may not be visible here.
    pub(super) fn finish_acknowledged(&mut self, cx: &mut Ctx<'_>, number: u64, reply: Reply) {
        let body = match reply.body {
            Ok(ReplyBody::Written(seq)) => Ok(ReplyBody::Acknowledged(seq)),
            other => other,
        };
        self.finish_with(cx, number, Reply { body, ..reply });
    }
}
