//! The gateway: dispatch of events, start and end of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_model::client::{Body, Refusal, Reply, ReplyBody, Request};
use meridian_proto::frame::{Peer, RegionAnswer, RegionMessage};

use crate::evaluated::{Admission, Evaluated};
use crate::pending::{Pending, Phase, SubRequest};
use crate::region::RegionsHeard;
use crate::settings::InjectedBug;
use crate::{Caller, Ctx, Effect, Event, Settings, Step};

/// Most client requests in progress at one gateway; further ones are refused.
const REQUESTS_WAITING: usize = 8192;
/// Longest time for which a request is processed.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// The request router of a pod.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) requests: BTreeMap<u64, Pending>,
    pub(crate) callers: BTreeMap<Caller, u64>,
    /// Number of a call in progress → its request and shard.
    pub(crate) calls: BTreeMap<u64, (u64, ShardNumber)>,
    /// Number of a call to another region → its request.
    pub(crate) regions: BTreeMap<u64, u64>,
    pub(crate) heard: RegionsHeard,
    evaluated: Evaluated,
}

impl Gateway {
    /// A gateway without requests.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            requests: BTreeMap::new(),
            callers: BTreeMap::new(),
            calls: BTreeMap::new(),
            regions: BTreeMap::new(),
            heard: RegionsHeard::default(),
            evaluated: Evaluated::default(),
        }
    }

    /// Returns true if no request is in progress: then no tick is needed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Handles one event and appends its effects to those of `cx`.
    ///
    /// Effects must be performed in order and depth-first: an effect and the events that it causes immediately come
    /// before the next effect.
    pub fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Request { caller, request } => self.request(cx, caller, request),
            Event::CallerGone(caller) => self.caller_gone(cx, &caller),
            Event::ShardAnswer { from, call, answer } => self.shard_answer(cx, from, call, answer),
            Event::RegionReply { call, reply } => self.region_reply(cx, call, reply),
            Event::RegionCallFailed { call, unsupported } => self.region_call_failed(cx, call, unsupported),
            Event::Heard(region) => self.region_heard(cx, region),
            Event::Lost(peer) => self.lost(cx, &peer),
            Event::Tick => self.tick(cx),
            Event::Step(Step::SendSubRequest(number, shard)) => self.send_sub_request(cx, number, shard),
            Event::Step(Step::CheckRegions) => self.check_regions(cx),
            Event::Step(Step::AdvanceRegion(number)) => self.advance_region(cx, number),
        }
    }

    fn request(&mut self, cx: &mut Ctx<'_>, caller: Caller, request: Request) {
        if self.requests.len() >= REQUESTS_WAITING {
            let why = format!("{REQUESTS_WAITING} requests are under way at this pod");
            return turn_away(cx, &caller, Refusal::Overloaded(why));
        }
        if let Some(reason) = version_refusal(cx, &request.body) {
            return turn_away(cx, &caller, Refusal::Unavailable { shards: Vec::new(), reason });
        }
        if let (Caller::Region(..), Body::DeleteByFilter { .. }) = (&caller, &request.body) {
            match self.evaluated.admit(&caller, cx.now.mono) {
                Admission::New => {}
                // The first copy gets the answer.
                Admission::Repeated => return,
                Admission::Full => {
                    let why = "too many deletes by filter in the last minute".into();
                    return turn_away(cx, &caller, Refusal::Overloaded(why));
                }
            }
        }
        let number = cx.numbers.allocate();
        let pending = Pending {
            caller: caller.clone(),
            arrived: cx.now.mono,
            arrived_age: cx.now.age,
            deadline: cx.now.mono + request.timeout.min(LONGEST),
            request,
            phase: Phase::Write,
            sub_requests: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            may_have_happened: false,
        };
        self.callers.insert(caller, number);
        self.requests.insert(number, pending);
        self.begin(cx, number);
    }

    fn begin(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        let primary = cx.is_primary;
        match &pending.request.body {
            body if body.changes() && !primary => self.relay_to_primary(cx, number, None),
            Body::Write { .. } => self.begin_write(cx, number),
            Body::CreateCollection(_) => self.begin_create(cx, number),
            Body::DropCollection(_) => self.begin_drop(cx, number),
            Body::DeleteByFilter { .. } => self.begin_delete_by_filter(cx, number),
            Body::Read { .. } | Body::ListCollections | Body::DescribeCollection(_) => self.begin_read(cx, number),
        }
    }

    fn lost(&mut self, cx: &mut Ctx<'_>, peer: &Peer) {
        match peer {
            Peer::Node(node) => self.resend_to_others(cx, *node),
            Peer::Region(region) => self.region_lost(cx, region),
            Peer::Connection(_) => {
                let of_it = |caller: &&Caller| matches!(caller, Caller::Region(caller, _) if caller == peer);
                let gone: Vec<Caller> = self.callers.keys().filter(of_it).cloned().collect();
                gone.iter().for_each(|caller| self.caller_gone(cx, caller));
            }
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        let over: Vec<u64> = self.requests.iter().filter(|(_, one)| one.deadline <= now).map(|(n, _)| *n).collect();
        for number in over {
            self.out_of_time(cx, number);
        }
        self.resend_late(cx);
        cx.effects.push(Effect::Continue(Step::CheckRegions));
    }

    fn out_of_time(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get(&number) else { return };
        match &pending.phase {
            Phase::AwaitVisible(reply) => {
                let reply = reply.clone();
                return self.finish_acknowledged(cx, number, reply);
            }
            Phase::Relay(_) if pending.request.body.changes() => {
                let refusal = self.refusal_without(number, cx.primary.1);
                return self.finish(cx, number, Err(refusal));
            }
            _ => {}
        }
        let waited = cx.now.mono.saturating_sub(pending.arrived);
        let silent = || pending.sub_requests.iter().filter(|(_, sub_request)| sub_request.answer.is_none());
        let has_it = |(_, sub_request): (&ShardNumber, &SubRequest)| !sub_request.sent.is_empty();
        let is_read = !pending.request.body.changes();
        let refusal = match silent().next() {
            // Replicas that have the read are slow, not unreachable.
            Some(_) if is_read && silent().all(has_it) => Refusal::Timeout(waited),
            Some((_, first)) => {
                let shards = silent().map(|(shard, _)| *shard).collect();
                Refusal::Unavailable { reason: first.fault.clone(), shards }
            }
            None => Refusal::Timeout(waited),
        };
        self.finish(cx, number, Err(refusal));
    }

    /// Answers the client and removes the request.
    pub(crate) fn finish(&mut self, cx: &mut Ctx<'_>, number: u64, body: Result<ReplyBody, Refusal>) {
        let freshness = cx.no_freshness();
        self.finish_with(cx, number, Reply { body, freshness });
    }

    pub(crate) fn finish_with(&mut self, cx: &mut Ctx<'_>, number: u64, mut reply: Reply) {
        self.forget_calls(cx, number);
        let Some(pending) = self.requests.remove(&number) else { return };
        self.callers.remove(&pending.caller);
        if let (true, Err(refusal)) = (pending.may_have_happened, &reply.body)
            && refusal.invites_repeat()
            && !self.settings.injects(InjectedBug::RefuseUnknown)
        {
            reply.body = Err(Refusal::OutcomeUnknown(refusal.to_string()));
        }
        *cx.outcomes.entry(reply.freshness.outcome).or_default() += 1;
        send_reply(cx, &pending.caller, reply);
    }

    /// The caller is gone. A read is cancelled; a change that has begun continues.
    fn caller_gone(&mut self, cx: &mut Ctx<'_>, caller: &Caller) {
        let Some(number) = self.callers.get(caller).copied() else { return };
        if self.requests.get(&number).is_some_and(|pending| !pending.request.body.changes()) {
            self.forget_calls(cx, number);
            self.requests.remove(&number);
            self.callers.remove(caller);
        }
    }

    /// Cancels the unanswered calls of a request.
    pub(crate) fn forget_calls(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let is_open = |sub_request: &SubRequest| sub_request.call.is_change() && !sub_request.sent.is_empty();
        pending.may_have_happened |= pending.sub_requests.values().any(is_open);
        let take = |sub_request: &mut SubRequest| (sub_request.call.is_read(), std::mem::take(&mut sub_request.sent));
        let unanswered: Vec<_> = pending.sub_requests.values_mut().map(take).collect();
        let relayed = match &pending.phase {
            Phase::Relay(relay) => relay.call(),
            _ => None,
        };
        let is_read = !pending.request.body.changes();
        for (is_read, sent) in unanswered {
            self.forget_sent(cx, is_read, sent);
        }
        if let Some(call) = relayed
            && self.regions.remove(&call).is_some()
            && is_read
        {
            let primary = Peer::Region(cx.primary.1.clone());
            cx.effects.push(Effect::SendRegion(primary, RegionMessage::Cancel(call)));
        }
    }
}

/// Why an operation is refused because of the versions that the group has finalized and published. Only the primary
/// region makes deltas.
fn version_refusal(cx: &Ctx<'_>, body: &Body) -> Option<String> {
    let refuse_deltas = || cx.is_primary.then(|| cx.versions.refuse_deltas(body)).flatten();
    cx.versions.refuse(body.needs()).or_else(refuse_deltas)
}

fn turn_away(cx: &mut Ctx<'_>, caller: &Caller, refusal: Refusal) {
    let reply = Reply { body: Err(refusal), freshness: cx.no_freshness() };
    send_reply(cx, caller, reply);
}

fn send_reply(cx: &mut Ctx<'_>, caller: &Caller, reply: Reply) {
    cx.effects.push(match caller {
        Caller::Ticket(ticket) => Effect::Reply { ticket: *ticket, reply },
        Caller::Region(peer, call) => {
            let message = RegionMessage::Answer(*call, RegionAnswer::Reply(reply));
            Effect::SendRegion(peer.clone(), message)
        }
    });
}

#[cfg(test)]
mod tests;
