//! Writes of points.

use meridian_model::client::PointOp;
use meridian_model::{
    CollectionName, CollectionUid, LogIndex, MAX_CONDITIONAL_PART, Op, RequestIndexes, TableVersion, Traceparent,
    WriteId,
};
use meridian_proto::frame::ShardAnswer;
use meridian_shard::MAX_CONDITIONAL_CHANGES;

use super::proposal::Changes;
use super::{Admission, Kind, Writes, position_of};
use crate::context::Ctx;
use crate::effect::Requester;

impl Writes {
    #[expect(clippy::too_many_arguments, reason = "the fields of one call, and what it is judged by")]
    pub(super) fn write(
        &mut self,
        cx: &mut Ctx<'_>,
        from: Requester,
        (id, trace): (WriteId, Option<Traceparent>),
        (table, sent_at): (TableVersion, LogIndex),
        collection: &CollectionName,
        (ops, indexes): (Vec<PointOp>, RequestIndexes),
        admission: Admission,
    ) {
        let (state, own) = (cx.state, cx.me().shard);
        let part = u32::from(own.number());
        if let Some(done) = state.write_result(id, part) {
            cx.counters.writes_repeated += 1;
            return cx.answer(from, Kind::Written.answer(done, position_of(state, done)));
        }
        let held = state.table();
        if table != held.version || ops.iter().any(|op| held.shard_of(op.point()) != own) {
            return cx.answer(from, ShardAnswer::NotOwner(held.version));
        }
        if !indexes.fits(ops.len()) {
            return cx.answer(from, ShardAnswer::Wrong(format!("indexes must be those of {} changes", ops.len())));
        }
        let Some(uid) = state.collection(collection).map(|held| held.uid()) else {
            return cx.answer(from, ShardAnswer::NoCollection);
        };
        let mut ops: Vec<Op> = ops.into_iter().map(|op| op_of(uid, op)).collect();
        if let Err(fault) = state.check_write(&ops) {
            return cx.answer(from, ShardAnswer::Wrong(fault.to_string()));
        }
        state.normalize(&mut ops);
        let changes = Changes::Plain { sent_at, ops, indexes };
        self.propose(cx, (from, Kind::Written), ((id, part), trace), changes, admission);
    }

    pub(super) fn conditional_write(
        &mut self,
        cx: &mut Ctx<'_>,
        from: Requester,
        ((id, part), trace): ((WriteId, u32), Option<Traceparent>),
        table: TableVersion,
        changes: Changes,
        admission: Admission,
    ) {
        let (state, own) = (cx.state, cx.me().shard);
        if let Some(done) = state.write_result(id, part) {
            cx.counters.writes_repeated += 1;
            return cx.answer(from, Kind::Conditional.answer(done, position_of(state, done)));
        }
        let held = state.table();
        if table != held.version || changes.points().any(|point| held.shard_of(point) != own) {
            return cx.answer(from, ShardAnswer::NotOwner(held.version));
        }
        if part > MAX_CONDITIONAL_PART {
            let fault = format!("part must be at most {MAX_CONDITIONAL_PART} (got {part})");
            return cx.answer(from, ShardAnswer::Wrong(fault));
        }
        if !(1..=MAX_CONDITIONAL_CHANGES).contains(&changes.len()) {
            let fault = format!("changes must be from 1 to {MAX_CONDITIONAL_CHANGES} (got {})", changes.len());
            return cx.answer(from, ShardAnswer::Wrong(fault));
        }
        self.propose(cx, (from, Kind::Conditional), ((id, part), trace), changes, admission);
    }
}

fn op_of(collection: CollectionUid, op: PointOp) -> Op {
    match op {
        PointOp::Upsert { point, vectors, payload } => Op::Upsert { collection, point, vectors, payload },
        PointOp::Delete { point } => Op::Delete { collection, point },
    }
}
