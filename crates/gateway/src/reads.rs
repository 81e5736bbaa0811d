//! Reads: the freshness demand, a part from each shard, and the fallbacks if the region is stale.

use std::collections::VecDeque;
use std::time::Duration;

use meridian_model::client::{Body, Freshness, OnStale, Outcome, Refusal, Reply, ReplyBody};
use meridian_model::{Consistency, ShardNumber, VersionVector};
use meridian_proto::frame::{PartBody, ReadDemand, ReadPart, ShardAnswer, ShardCall};

use crate::merge::merge;
use crate::settings::InjectedBug;
use crate::writes::unexpected;
use crate::{Caller, Ctx, Gateway, Phase};

/// State of a read's freshness demand.
#[derive(Debug)]
pub(super) struct ReadProgress {
    demand: ReadDemand,
    /// Largest age that the answer may have when the request arrives.
    required: Option<Duration>,
    /// Fallbacks that remain, in this order.
    fallbacks: VecDeque<OnStale>,
    max_wait: Duration,
    /// The last answers of the shards.
    parts: Vec<(ShardNumber, ReadPart)>,
    /// Their time: the ages in them are of that moment.
    parts_at: Duration,
}

impl Gateway {
    pub(super) fn begin_read(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let wish = &pending.request.demand;
        let consistency = wish.consistency.unwrap_or(match (&wish.freshness, &wish.token) {
            (Some(_), _) => Consistency::Bounded,
            (None, Some(_)) => Consistency::Session,
            (None, None) => Consistency::Bounded,
        });
        let strong = consistency == Consistency::Strong || wish.freshness.is_some_and(|wanted| wanted.0.is_zero());
        if strong && !cx.is_primary {
            return self.relay_to_primary(cx, number, None);
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
        // Age and remaining time are added when a call is sent.
        let demand = ReadDemand { index, max_age: None, covers, wait, left: Duration::ZERO };
        let plan = ReadProgress { demand, required, fallbacks, max_wait, parts: Vec::new(), parts_at: cx.now.age };
        self.scatter(cx, number, plan);
    }

    fn scatter(&mut self, cx: &mut Ctx<'_>, number: u64, mut plan: ReadProgress) {
        let Some(pending) = self.requests.get(&number) else { return };
        let since = cx.now.age.saturating_sub(pending.arrived_age);
        plan.demand.max_age = plan.required.map(|required| required.saturating_add(since));
        let demand = &plan.demand;
        let calls = match &pending.request.body {
            Body::Read { collection, query } => cx.to_all(&ShardCall::Read {
                collection: collection.clone(),
                query: query.clone(),
                demand: demand.clone(),
            }),
            Body::ListCollections => vec![(ShardNumber::FIRST, false, ShardCall::List(demand.clone()))],
            Body::DescribeCollection(name) => cx.to_all(&ShardCall::Describe(name.clone(), demand.clone())),
            _ => return,
        };
        self.begin_phase(cx, number, Phase::Read(plan), calls);
    }

    pub(super) fn read_answered(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u64,
        mut plan: ReadProgress,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        plan.parts = Vec::with_capacity(answers.len());
        plan.parts_at = cx.now.age;
        for (shard, answer) in answers {
            match answer {
                ShardAnswer::Part(part) => plan.parts.push((shard, part)),
                other => return self.finish(cx, number, Err(unexpected(shard, &other))),
            }
        }
        if plan.parts.iter().all(|(_, part)| part.kept) {
            let waited = plan.parts.iter().any(|(_, part)| part.waited);
            let outcome = if waited { Outcome::Waited } else { Outcome::Fresh };
            return self.finish_read(cx, number, plan, outcome);
        }
        self.fall_back(cx, number, plan);
    }

    /// The demand is not met: the next fallback. After the last one, `serve`.
    pub(super) fn fall_back(&mut self, cx: &mut Ctx<'_>, number: u64, mut plan: ReadProgress) {
        let Some(pending) = self.requests.get(&number) else { return };
        let relayed = matches!(pending.caller, Caller::Region(..));
        match plan.fallbacks.pop_front() {
            Some(OnStale::Wait) => {
                plan.demand.wait = plan.max_wait;
                self.scatter(cx, number, plan);
            }
            // The request was forwarded already, or this is the primary region.
            Some(OnStale::Redirect) if relayed || cx.is_primary => self.fall_back(cx, number, plan),
            Some(OnStale::Redirect) => self.relay_to_primary(cx, number, Some(plan)),
            Some(OnStale::Fail) => {
                let freshness = self.freshness_of(cx, &plan, Outcome::Failed);
                let staleness_ms = u64::try_from(freshness.staleness.as_millis()).unwrap_or(u64::MAX);
                self.finish_with(cx, number, Reply { body: Err(Refusal::TooStale { staleness_ms }), freshness });
            }
            Some(OnStale::Serve) | None => self.finish_read(cx, number, plan, Outcome::Stale),
        }
    }

    fn finish_read(&mut self, cx: &mut Ctx<'_>, number: u64, plan: ReadProgress, outcome: Outcome) {
        let Some(pending) = self.requests.get(&number) else { return };
        let freshness = self.freshness_of(cx, &plan, outcome);
        match merge(&pending.request.body, plan.parts, cx.replicas) {
            Some(body) => self.finish_with(cx, number, Reply { body, freshness }),
            None => {
                self.finish_no_collection_with(cx, number, freshness);
            }
        }
    }

    fn freshness_of(&self, cx: &Ctx<'_>, plan: &ReadProgress, outcome: Outcome) -> Freshness {
        let mut token = VersionVector::default();
        for (_, part) in &plan.parts {
            token.merge(&part.covers);
        }
        let oldest = plan.parts.iter().map(|(_, part)| part.age).max().unwrap_or(Duration::MAX);
        let staleness = oldest.saturating_add(cx.now.age.saturating_sub(plan.parts_at));
        let served_region = cx.region.clone();
        let stale = outcome == Outcome::Stale && !self.settings.injects(InjectedBug::UnmarkedStale);
        Freshness { staleness, served_region, token, stale, outcome }
    }
}

/// The definitions of the collection that the shards returned.
pub(super) fn bodies(parts: Vec<(ShardNumber, ReadPart)>) -> impl Iterator<Item = PartBody> {
    parts.into_iter().filter_map(|(_, part)| part.body)
}

/// Result of a merge.
pub(super) type Merged = Result<ReplyBody, Refusal>;
