//! Writes: each point goes to its shard; the write is acknowledged when all shards have committed.

use std::collections::BTreeMap;

use meridian_model::client::{Body, Freshness, Outcome, PointOp, Refusal, Reply, ReplyBody};
use meridian_model::{LogIndex, RequestIndexes, ShardNumber, VersionVector};
use meridian_proto::frame::{ShardAnswer, ShardCall};

use crate::{Ctx, Gateway, Phase};

impl Gateway {
    pub(super) fn begin_write(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::Write { collection, ops } = &pending.request.body else { return };
        let (table, version) = (cx.table, cx.table.version);
        let mut parts: BTreeMap<ShardNumber, (Vec<u32>, Vec<PointOp>)> = BTreeMap::new();
        for (index, op) in (0..).zip(ops) {
            let (indexes, part) = parts.entry(table.shard_of(op.point())).or_default();
            indexes.push(index);
            part.push(op.clone());
        }
        let id = pending.request.id;
        let trace = pending.request.traceparent.as_deref().and_then(|text| text.parse().ok());
        let calls = parts
            .into_iter()
            .map(|(shard, (indexes, ops))| {
                let (table, collection, sent_at) = (version, collection.clone(), LogIndex(0));
                let indexes = RequestIndexes::new(indexes).expect("the changes are numbered in order");
                (shard, true, ShardCall::Write { id, table, sent_at, collection, ops, indexes, trace })
            })
            .collect();
        self.begin_phase(cx, number, Phase::Write, calls);
    }

    pub(super) fn write_answered(&mut self, cx: &mut Ctx<'_>, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        let (mut newest, mut covers) = (0, VersionVector::default());
        for (shard, answer) in answers {
            let refusal = match answer {
                ShardAnswer::Written(seq, part) => {
                    newest = newest.max(seq.0);
                    covers.merge(&part);
                    continue;
                }
                ShardAnswer::NoCollection => return self.resolve_collection(cx, number),
                ShardAnswer::Wrong(fault) => Refusal::BadInput(fault),
                ShardAnswer::Full => Refusal::ReadOnly,
                ShardAnswer::NotOwner(version) => Refusal::Unavailable {
                    shards: vec![shard],
                    reason: format!("the bucket table changed to version {version}"),
                },
                other => unexpected(shard, &other),
            };
            return self.finish(cx, number, Err(refusal));
        }
        self.finish_written(cx, number, ReplyBody::Written(newest), covers);
    }

    /// Answers a change; its positions are in the token.
    pub(super) fn finish_written(&mut self, cx: &mut Ctx<'_>, number: u64, body: ReplyBody, covers: VersionVector) {
        let served_region = cx.region.clone();
        let staleness = self.settings.clock_bound;
        let freshness = Freshness { staleness, served_region, token: covers, stale: false, outcome: Outcome::Fresh };
        self.finish_with(cx, number, Reply { body: Ok(body), freshness });
    }
}

/// The answer of a shard does not belong to the call: an unknown version of the software.
pub(super) fn unexpected(shard: ShardNumber, answer: &ShardAnswer) -> Refusal {
    let kind = format!("{answer:?}");
    let kind = kind.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    Refusal::Unavailable { shards: vec![shard], reason: format!("unexpected answer {kind}") }
}
