//! Reads: a demand from the headers, a part from each shard, and what to do when the region is behind.

use std::collections::VecDeque;
use std::time::Duration;

use meridian_model::client::{Body, Freshness, OnStale, Outcome, Refusal, Reply, ReplyBody};
use meridian_model::{Consistency, ShardNumber, VersionVector};
use meridian_proto::frame::{PartBody, ReadDemand, ReadPart, ShardAnswer, ShardCall};

use super::merge::merge;
use super::writes::unexpected;
use super::{Asker, Plan};
use crate::Replica;
use crate::injection::InjectedBug;

/// How a read stands with its demand.
#[derive(Debug)]
pub(super) struct ReadPlan {
    demand: ReadDemand,
    /// Age that the answer may have when the request arrives.
    required: Option<Duration>,
    /// What is still to be tried when the demand is not kept, in this order.
    fallbacks: VecDeque<OnStale>,
    max_wait: Duration,
    /// What the shards said last.
    parts: Vec<(ShardNumber, ReadPart)>,
    /// When: their ages are of that moment.
    parts_at: Duration,
}

impl Replica {
    pub(super) fn begin_read(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let wish = &ask.request.demand;
        let consistency = wish.consistency.unwrap_or(match (&wish.freshness, &wish.token) {
            (Some(_), _) => Consistency::Bounded,
            (None, Some(_)) => Consistency::Session,
            (None, None) => Consistency::Bounded,
        });
        let strong = consistency == Consistency::Strong || wish.freshness.is_some_and(|wanted| wanted.0.is_zero());
        if strong && !self.is_primary() {
            return self.ask_primary(number, None);
        }
        let required = wish.freshness.map(|wanted| wanted.0).or(self.settings.default_freshness);
        let bounded = consistency == Consistency::Bounded && !strong;
        let required = required.filter(|_| bounded);
        let covers = wish.token.clone().filter(|_| consistency != Consistency::Eventual).unwrap_or_default();
        let mut fallbacks: VecDeque<OnStale> = match &wish.on_stale {
            Some(named) => named.iter().copied().collect(),
            None => self.settings.on_stale.iter().copied().collect(),
        };
        let max_wait = wish.max_wait.unwrap_or(self.settings.max_wait);
        let first_waits = fallbacks.front() == Some(&OnStale::Wait);
        if first_waits {
            fallbacks.pop_front();
        }
        let wait = if first_waits { max_wait } else { Duration::ZERO };
        let index = consistency != Consistency::Eventual;
        // The age and the time that is left are put in when a call is sent.
        let demand = ReadDemand { index, max_age: None, covers, wait, left: Duration::ZERO };
        let plan = ReadPlan { demand, required, fallbacks, max_wait, parts: Vec::new(), parts_at: self.now.age };
        self.scatter(number, plan);
    }

    fn scatter(&mut self, number: u64, mut plan: ReadPlan) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let since = self.now.age.saturating_sub(ask.arrived_age);
        plan.demand.max_age = plan.required.map(|required| required.saturating_add(since));
        let demand = &plan.demand;
        let calls = match &ask.request.body {
            Body::Read { collection, query } => self.to_all(&ShardCall::Read {
                collection: collection.clone(),
                query: query.clone(),
                demand: demand.clone(),
            }),
            Body::ListCollections => vec![(ShardNumber::FIRST, false, ShardCall::List(demand.clone()))],
            Body::DescribeCollection(name) => self.to_all(&ShardCall::Describe(name.clone(), demand.clone())),
            _ => return,
        };
        self.fan_out(number, Plan::Read(plan), calls);
    }

    fn to_all(&self, call: &ShardCall) -> Vec<(ShardNumber, bool, ShardCall)> {
        ShardNumber::all(self.identity.genesis.shards).map(|shard| (shard, false, call.clone())).collect()
    }

    pub(super) fn read_answered(&mut self, number: u64, mut plan: ReadPlan, answers: Vec<(ShardNumber, ShardAnswer)>) {
        plan.parts = Vec::with_capacity(answers.len());
        plan.parts_at = self.now.age;
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Part(part) => plan.parts.push((shard, part)),
                other => return self.finish(number, Err(unexpected(shard, &other))),
            }
        }
        if plan.parts.iter().all(|(_, part)| part.kept) {
            let waited = plan.parts.iter().any(|(_, part)| part.waited);
            let outcome = if waited { Outcome::Waited } else { Outcome::Fresh };
            return self.finish_read(number, plan, outcome);
        }
        self.fall_back(number, plan);
    }

    /// The demand is not kept: the next fallback. The list exhausted means `serve`.
    pub(super) fn fall_back(&mut self, number: u64, mut plan: ReadPlan) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let relayed = matches!(ask.asker, Asker::Region(..));
        match plan.fallbacks.pop_front() {
            Some(OnStale::Wait) => {
                plan.demand.wait = plan.max_wait;
                self.scatter(number, plan);
            }
            // The one hop is spent, or there is nowhere to go.
            Some(OnStale::Redirect) if relayed || self.is_primary() => self.fall_back(number, plan),
            Some(OnStale::Redirect) => self.ask_primary(number, Some(plan)),
            Some(OnStale::Fail) => {
                let freshness = self.freshness_of(&plan, Outcome::Failed);
                let staleness_ms = u64::try_from(freshness.staleness.as_millis()).unwrap_or(u64::MAX);
                self.finish_with(number, Reply { body: Err(Refusal::TooStale { staleness_ms }), freshness });
            }
            Some(OnStale::Serve) | None => self.finish_read(number, plan, Outcome::Stale),
        }
    }

    fn finish_read(&mut self, number: u64, plan: ReadPlan, outcome: Outcome) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let freshness = self.freshness_of(&plan, outcome);
        // Shards have equally many; the own shard knows best, and during a change tells what is rather than what shall be.
        let replicas = u16::try_from(self.raft.members().voters.len()).unwrap_or(u16::MAX);
        match merge(&ask.request.body, plan.parts, replicas) {
            Some(body) => self.finish_with(number, Reply { body, freshness }),
            None => {
                self.finish_no_collection_with(number, freshness);
            }
        }
    }

    fn freshness_of(&self, plan: &ReadPlan, outcome: Outcome) -> Freshness {
        let mut token = VersionVector::default();
        for (_, part) in &plan.parts {
            token.merge(&part.covers);
        }
        let oldest = plan.parts.iter().map(|(_, part)| part.age).max().unwrap_or(Duration::MAX);
        let staleness = oldest.saturating_add(self.now.age.saturating_sub(plan.parts_at));
        let served_region = self.identity.genesis.region.clone();
        let stale = outcome == Outcome::Stale && !self.settings.injects(InjectedBug::UnmarkedStale);
        Freshness { staleness, served_region, token, stale, outcome }
    }
}

/// The definition that any shard knows of the collection in question.
pub(super) fn bodies(parts: Vec<(ShardNumber, ReadPart)>) -> impl Iterator<Item = PartBody> {
    parts.into_iter().filter_map(|(_, part)| part.body)
}

/// What a merge gives.
pub(super) type Merged = Result<ReplyBody, Refusal>;
