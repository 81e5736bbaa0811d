//! Creating and dropping collections: shard 1 decides, the other shards learn it, then the client hears.

use meridian_model::client::{Body, Freshness, Refusal, Reply, ReplyBody};
use meridian_model::{LogIndex, ShardNumber, VersionVector};
use meridian_proto::frame::{ShardAnswer, ShardCall};

use super::Plan;
use super::writes::unexpected;
use crate::Replica;

impl Replica {
    pub(super) fn begin_create(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Body::CreateCollection(def) = &ask.request.body else { return };
        let call = ShardCall::Create { id: ask.request.id, sent_at: LogIndex(0), def: def.clone() };
        self.fan_out(number, Plan::CreateFirst, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn create_answered(&mut self, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Body::CreateCollection(def) = &ask.request.body else { return };
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Created(uid, covers))) => {
                let def = def.clone();
                let calls = self.to_the_rest(&ShardCall::Learn { uid, def });
                if calls.is_empty() {
                    return self.finish_written(number, ReplyBody::Done(true), covers);
                }
                self.fan_out(number, Plan::CreateRest(covers), calls);
            }
            Some((_, ShardAnswer::Exists)) => {
                let fault = format!("Collection `{}` already exists!", def.name);
                self.finish(number, Err(Refusal::AlreadyExists(fault)));
            }
            Some((_, ShardAnswer::Full)) => self.finish(number, Err(Refusal::ReadOnly)),
            Some((_, ShardAnswer::Wrong(fault))) => self.finish(number, Err(Refusal::BadInput(fault))),
            Some((shard, other)) => self.finish(number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn create_learnt(
        &mut self,
        number: u64,
        mut covers: VersionVector,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Written(_, part) => covers.merge(&part),
                ShardAnswer::Full => return self.finish(number, Err(Refusal::ReadOnly)),
                other => return self.finish(number, Err(unexpected(shard, &other))),
            }
        }
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        match &ask.request.body {
            // The write that met an unknown collection goes on.
            Body::Write { .. } => self.begin_write(number),
            _ => self.finish_written(number, ReplyBody::Done(true), covers),
        }
    }

    pub(super) fn begin_drop(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Body::DropCollection(name) = &ask.request.body else { return };
        let call = ShardCall::Drop { id: ask.request.id, sent_at: LogIndex(0), name: name.clone(), upto: None };
        self.fan_out(number, Plan::DropFirst, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn drop_answered(&mut self, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Body::DropCollection(name) = &ask.request.body else { return };
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Dropped { existed, upto, covers })) => {
                // Also when shard 1 has none: an earlier drop may not have reached every shard.
                let (id, sent_at, upto) = (ask.request.id, LogIndex(0), Some(upto));
                let call = ShardCall::Drop { id, sent_at, name: name.clone(), upto };
                let calls = self.to_the_rest(&call);
                if calls.is_empty() {
                    return self.finish_written(number, ReplyBody::Done(existed), covers);
                }
                self.fan_out(number, Plan::DropRest { existed, covers }, calls);
            }
            Some((_, ShardAnswer::Full)) => self.finish(number, Err(Refusal::ReadOnly)),
            Some((shard, other)) => self.finish(number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn drop_spread(
        &mut self,
        number: u64,
        existed: bool,
        mut covers: VersionVector,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Dropped { covers: part, .. } => covers.merge(&part),
                ShardAnswer::Full => return self.finish(number, Err(Refusal::ReadOnly)),
                other => return self.finish(number, Err(unexpected(shard, &other))),
            }
        }
        self.finish_written(number, ReplyBody::Done(existed), covers);
    }

    /// A shard that a write went to does not know the collection: shard 1 says what it is, or that it is not.
    pub(super) fn write_without_collection(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Body::Write { collection, .. } = &ask.request.body else { return };
        let call = ShardCall::Resolve(collection.clone());
        self.fan_out(number, Plan::Resolve, vec![(ShardNumber::FIRST, true, call)]);
    }

    pub(super) fn resolved(&mut self, number: u64, answers: Vec<(ShardNumber, ShardAnswer)>) {
        match answers.into_iter().next() {
            Some((_, ShardAnswer::Resolved(Some((uid, def))))) => {
                let calls = self.to_the_rest(&ShardCall::Learn { uid, def });
                if calls.is_empty() {
                    return self.begin_write(number);
                }
                self.fan_out(number, Plan::CreateRest(VersionVector::default()), calls);
            }
            Some((_, ShardAnswer::Resolved(None))) => self.finish_no_collection(number),
            Some((shard, other)) => self.finish(number, Err(unexpected(shard, &other))),
            None => {}
        }
    }

    pub(super) fn finish_no_collection(&mut self, number: u64) {
        let freshness = self.no_freshness();
        self.finish_no_collection_with(number, freshness);
    }

    pub(super) fn finish_no_collection_with(&mut self, number: u64, freshness: Freshness) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let name = match &ask.request.body {
            Body::Write { collection: name, .. }
            | Body::DeleteByFilter { collection: name, .. }
            | Body::Read { collection: name, .. }
            | Body::DescribeCollection(name)
            | Body::DropCollection(name) => name.as_str(),
            Body::CreateCollection(def) => def.name.as_str(),
            Body::ListCollections => "",
        };
        let body = Err(Refusal::NotFound(format!("Collection `{name}` doesn't exist!")));
        self.finish_with(number, Reply { body, freshness });
    }

    fn to_the_rest(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.identity.genesis.shards)
            .filter(|shard| *shard != ShardNumber::FIRST)
            .map(|shard| (shard, true, call.clone()))
            .collect()
    }
}
