//! Creation and removal of collections: shard 1 decides, the other shards follow, then the client gets its answer.

use meridian_model::client::{Body, Freshness, Refusal, Reply, ReplyBody};
use meridian_model::{LogIndex, ShardNumber, VersionVector};
use meridian_proto::frame::{ShardAnswer, ShardCall};

use crate::writes::unexpected;
use crate::{Ctx, Gateway, Phase};

impl Gateway {
    pub(super) fn begin_create(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::CreateCollection(def) = &pending.request.body else { return };
        let call = ShardCall::Create { id: pending.request.id, sent_at: LogIndex(0), def: def.clone() };
        self.begin_phase(cx, number, Phase::CreateOnFirstShard, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn create_answered(&mut self, cx: &mut Ctx<'_>, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::CreateCollection(def) = &pending.request.body else { return };
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Created(uid, covers))) => {
                let def = def.clone();
                let calls = cx.to_the_rest(&ShardCall::Learn { uid, def });
                if calls.is_empty() {
                    return self.finish_written(cx, number, ReplyBody::Done(true), covers);
                }
                self.begin_phase(cx, number, Phase::CreateOnOthers(covers), calls);
            }
            Some((_, ShardAnswer::Exists)) => {
                let fault = format!("Collection `{}` already exists!", def.name);
                self.finish(cx, number, Err(Refusal::AlreadyExists(fault)));
            }
            Some((_, ShardAnswer::Full)) => self.finish(cx, number, Err(Refusal::ReadOnly)),
            Some((_, ShardAnswer::Wrong(fault))) => self.finish(cx, number, Err(Refusal::BadInput(fault))),
            Some((shard, other)) => self.finish(cx, number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn create_spread(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u64,
        mut covers: VersionVector,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Written(_, part) => covers.merge(&part),
                ShardAnswer::Full => return self.finish(cx, number, Err(Refusal::ReadOnly)),
                other => return self.finish(cx, number, Err(unexpected(shard, &other))),
            }
        }
        let Some(pending) = self.requests.get(&number) else { return };
        match &pending.request.body {
            // The write that found an unknown collection continues.
            Body::Write { .. } => self.begin_write(cx, number),
            _ => self.finish_written(cx, number, ReplyBody::Done(true), covers),
        }
    }

    pub(super) fn begin_drop(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::DropCollection(name) = &pending.request.body else { return };
        let call = ShardCall::Drop { id: pending.request.id, sent_at: LogIndex(0), name: name.clone(), upto: None };
        self.begin_phase(cx, number, Phase::DropOnFirstShard, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn drop_answered(&mut self, cx: &mut Ctx<'_>, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::DropCollection(name) = &pending.request.body else { return };
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Dropped { existed, upto, covers })) => {
                // This is sent even if shard 1 has no such collection: an earlier drop may not have reached every
                // shard.
                let (id, sent_at, upto) = (pending.request.id, LogIndex(0), Some(upto));
                let call = ShardCall::Drop { id, sent_at, name: name.clone(), upto };
                let calls = cx.to_the_rest(&call);
                if calls.is_empty() {
                    return self.finish_written(cx, number, ReplyBody::Done(existed), covers);
                }
                self.begin_phase(cx, number, Phase::DropOnOthers { existed, covers }, calls);
            }
            Some((_, ShardAnswer::Full)) => self.finish(cx, number, Err(Refusal::ReadOnly)),
            Some((shard, other)) => self.finish(cx, number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn drop_spread(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u64,
        existed: bool,
        mut covers: VersionVector,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Dropped { covers: part, .. } => covers.merge(&part),
                ShardAnswer::Full => return self.finish(cx, number, Err(Refusal::ReadOnly)),
                other => return self.finish(cx, number, Err(unexpected(shard, &other))),
            }
        }
        self.finish_written(cx, number, ReplyBody::Done(existed), covers);
    }

    /// A shard does not know the collection of a write: shard 1 returns its definition, or that there is none.
    pub(super) fn resolve_collection(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::Write { collection, .. } = &pending.request.body else { return };
        let call = ShardCall::Resolve(collection.clone());
        self.begin_phase(cx, number, Phase::ResolveCollection, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn resolved(&mut self, cx: &mut Ctx<'_>, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Resolved(Some((uid, def))))) => {
                let calls = cx.to_the_rest(&ShardCall::Learn { uid, def });
                if calls.is_empty() {
                    return self.begin_write(cx, number);
                }
                self.begin_phase(cx, number, Phase::CreateOnOthers(VersionVector::default()), calls);
            }
            Some((_, ShardAnswer::Resolved(None))) => self.finish_no_collection(cx, number),
            Some((shard, other)) => self.finish(cx, number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn finish_no_collection(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let freshness = cx.no_freshness();
        self.finish_no_collection_with(cx, number, freshness);
    }

    pub(super) fn finish_no_collection_with(&mut self, cx: &mut Ctx<'_>, number: u64, freshness: Freshness) {
        let Some(pending) = self.requests.get(&number) else { return };
        let name = match &pending.request.body {
            Body::Write { collection: name, .. }
            | Body::DeleteByFilter { collection: name, .. }
            | Body::Read { collection: name, .. }
            | Body::DescribeCollection(name)
            | Body::DropCollection(name) => name.as_str(),
            Body::CreateCollection(def) => def.name.as_str(),
            Body::ListCollections => "",
        };
        let body = Err(Refusal::NotFound(format!("Collection `{name}` doesn't exist!")));
        self.finish_with(cx, number, Reply { body, freshness });
    }
}
