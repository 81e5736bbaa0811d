//! What clients ask of the region, whichever pod they ask: spread over the shards, retried, merged.
//!
//! Each request is an [`Ask`]: a fan of calls to shards, and a plan that says what their answers mean. Calls are harmless
//! when repeated (writes by their id), so a call without a good answer is sent again, to the leader or to another replica,
//! until the client's time is over.

mod collections;
mod filtered;
mod merge;
mod reads;
mod region;
mod visible;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{ShardNumber, VersionVector};
use meridian_wire::client::{Body, Freshness, Outcome, Refusal, Reply, ReplyBody, Request};
use meridian_wire::frame::{NodeId, RegionAnswer, RegionMessage, ShardAnswer, ShardCall};

use crate::shard_calls::{Requester, shard_message};
use crate::{Command, Peer, Replica};

pub(crate) use visible::Parked;

/// Client requests that one gateway may have under way; more are refused.
const ASKS_WAITING: usize = 8192;
/// Without an answer in this time a call is sent again, elsewhere.
const PATIENCE: Duration = Duration::from_millis(400);
/// A call that was refused for the moment is sent again after this.
const RETRY_AFTER: Duration = Duration::from_millis(15);
/// The longest that any request is worked on.
const LONGEST: Duration = Duration::from_secs(60);

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client of this pod.
    Ticket(u64),
    /// Another region, on this connection under this number: the one hop between regions is spent.
    Region(Peer, u64),
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Ask {
    asker: Asker,
    request: Request,
    arrived: Duration,
    /// By the clock of ages.
    arrived_age: Duration,
    deadline: Duration,
    plan: Plan,
    fan: BTreeMap<ShardNumber, Leg>,
}

impl Ask {
    /// Whether it may be sent to another gateway again: there a write is known by its id, but a delete by filter would be
    /// evaluated anew.
    fn may_be_repeated(&self) -> bool {
        !matches!(self.request.body, Body::DeleteByFilter { .. })
    }
}

/// What the answers of a fan mean.
#[derive(Debug)]
enum Plan {
    Write,
    /// A write met an unknown collection: shard 1 is asked what it is.
    Resolve,
    CreateFirst,
    CreateRest(VersionVector),
    DropFirst,
    DropRest {
        existed: bool,
        covers: VersionVector,
    },
    Read(reads::ReadPlan),
    Filtered(filtered::FilteredDelete),
    /// The primary region is to answer.
    Region(region::RegionLeg),
    /// It has acknowledged a write, which is not known to be visible here yet.
    Visible(Reply),
}

/// One call of a fan.
#[derive(Debug)]
struct Leg {
    call: ShardCall,
    /// Only the leader can answer.
    leader: bool,
    number: u64,
    sent_to: Option<NodeId>,
    attempt: usize,
    /// By the clock of ages.
    sent_at: Duration,
    again_at: Duration,
    answer: Option<ShardAnswer>,
    /// Why the last attempt was in vain.
    fault: String,
}

/// The requests of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    asks: BTreeMap<u64, Ask>,
    /// Number of a call under way → its ask and shard.
    calls: BTreeMap<u64, (u64, ShardNumber)>,
    /// Number of a call to another region → its ask.
    regions: BTreeMap<u64, u64>,
    heard: region::RegionsHeard,
}

impl Replica {
    pub(crate) fn ask(&mut self, asker: Asker, request: Request) {
        if self.gateway.asks.len() >= ASKS_WAITING {
            let refusal = Refusal::Overloaded(format!("{ASKS_WAITING} requests are under way at this pod"));
            let reply = Reply { body: Err(refusal), freshness: self.no_freshness() };
            return self.reply(&asker, reply);
        }
        let number = self.number();
        let deadline = self.now.mono + request.timeout.min(LONGEST);
        let (arrived, arrived_age) = (self.now.mono, self.now.age);
        let plan = Plan::Write;
        let ask = Ask { asker, request, arrived, arrived_age, deadline, plan, fan: BTreeMap::new() };
        self.gateway.asks.insert(number, ask);
        self.begin(number);
    }

    fn begin(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let primary = self.is_primary();
        match &ask.request.body {
            body if body.changes() && !primary => self.ask_primary(number, None),
            Body::Write { .. } => self.begin_write(number),
            Body::CreateCollection(_) => self.begin_create(number),
            Body::DropCollection(_) => self.begin_drop(number),
            Body::DeleteByFilter { .. } => self.begin_delete_by_filter(number),
            Body::Read { .. } | Body::ListCollections | Body::DescribeCollection(_) => self.begin_read(number),
        }
    }

    /// Replaces the fan of an ask by these calls, and sends them.
    fn fan_out(&mut self, number: u64, plan: Plan, calls: Vec<(ShardNumber, bool, ShardCall)>) {
        let shards: Vec<ShardNumber> = calls.iter().map(|(shard, _, _)| *shard).collect();
        let mut fan = BTreeMap::new();
        for (shard, leader, call) in calls {
            let leg = Leg {
                call,
                leader,
                number: 0,
                sent_to: None,
                attempt: 0,
                sent_at: self.now.age,
                again_at: self.now.mono,
                answer: None,
                fault: "no replica of the shard is known".into(),
            };
            fan.insert(shard, leg);
        }
        self.forget_calls(number);
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        ask.plan = plan;
        ask.fan = fan;
        for shard in shards {
            self.send_leg(number, shard);
        }
    }

    fn send_leg(&mut self, number: u64, shard: ShardNumber) {
        let call = self.number();
        let me = self.me();
        let leader = self.nodes.leader(shard);
        let replicas = self.nodes.of_shard(shard);
        let (now, sent_at) = (self.now.mono, self.now.age);
        let Some(leg) = self.gateway.asks.get_mut(&number).and_then(|ask| ask.fan.get_mut(&shard)) else { return };
        let to = choose(me, shard, leg, leader, &replicas);
        self.gateway.calls.remove(&leg.number);
        leg.number = call;
        leg.attempt += 1;
        leg.sent_to = to;
        leg.sent_at = sent_at;
        leg.again_at = now + if to.is_some() { PATIENCE } else { RETRY_AFTER };
        let body = leg.call.clone();
        match to {
            None => {}
            Some(node) if node == me => {
                self.gateway.calls.insert(call, (number, shard));
                self.shard_call(Requester::Own(call), body);
            }
            Some(node) => {
                self.gateway.calls.insert(call, (number, shard));
                self.send(node, shard_message(call, body));
            }
        }
    }

    pub(crate) fn shard_answer(&mut self, from: Option<NodeId>, call: u64, answer: ShardAnswer) {
        if let ShardAnswer::Definitions { largest, standing } = answer {
            return self.definitions_heard(largest, standing);
        }
        let Some((number, shard)) = self.gateway.calls.remove(&call) else { return };
        let now = self.now.mono;
        let Some(leg) = self.gateway.asks.get_mut(&number).and_then(|ask| ask.fan.get_mut(&shard)) else { return };
        match answer {
            ShardAnswer::NotLeader(hint) => {
                leg.fault = "the shard has no leader just now".into();
                let hinted = hint.map(|replica| NodeId { shard, replica });
                leg.again_at = now + RETRY_AFTER;
                let at_once = hinted.is_some() && hinted != leg.sent_to && leg.attempt % 3 != 0;
                self.nodes.hint(shard, hint);
                if at_once {
                    self.send_leg(number, shard);
                }
            }
            ShardAnswer::Busy(why) => {
                leg.fault = why;
                leg.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Reached(false) => {
                leg.fault = "the write is not visible yet".into();
                leg.again_at = now;
            }
            answer => {
                if let (true, Some(node)) = (leg.leader, from) {
                    self.nodes.hint(shard, Some(node.replica));
                }
                leg.answer = Some(answer);
                let whole = self.gateway.asks.get(&number).is_some_and(|a| a.fan.values().all(|l| l.answer.is_some()));
                if whole {
                    self.fan_answered(number);
                }
            }
        }
    }

    /// Every call of the fan has its answer.
    fn fan_answered(&mut self, number: u64) {
        let now = self.now.age;
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let mut fan = std::mem::take(&mut ask.fan);
        for leg in fan.values_mut() {
            if let Some(ShardAnswer::Part(part)) = &mut leg.answer {
                // It has grown older on its way, and while other shards were waited for.
                let since = now.saturating_sub(leg.sent_at).saturating_sub(part.took);
                part.age = part.age.saturating_add(since);
            }
        }
        let answers: Vec<(ShardNumber, ShardAnswer)> =
            fan.into_iter().filter_map(|(shard, leg)| leg.answer.map(|answer| (shard, answer))).collect();
        match std::mem::replace(&mut ask.plan, Plan::Write) {
            Plan::Write => self.write_answered(number, answers),
            Plan::Resolve => self.resolved(number, answers),
            Plan::CreateFirst => self.create_answered(number, answers),
            Plan::CreateRest(covers) => self.create_learnt(number, covers, answers),
            Plan::DropFirst => self.drop_answered(number, answers),
            Plan::DropRest { existed, covers } => self.drop_spread(number, existed, covers, answers),
            Plan::Read(plan) => self.read_answered(number, plan, answers),
            Plan::Visible(reply) => self.visible(number, reply),
            Plan::Filtered(delete) => self.filtered_answered(number, delete, answers),
            Plan::Region(leg) => {
                if let Some(ask) = self.gateway.asks.get_mut(&number) {
                    ask.plan = Plan::Region(leg);
                }
            }
        }
    }

    pub(crate) fn gateway_lost(&mut self, peer: &Peer) {
        match peer {
            Peer::Node(node) => self.resend_to_others(*node),
            Peer::Region(region) => self.region_lost(region),
            Peer::Connection(_) => {
                self.gateway.asks.retain(|_, ask| !matches!(&ask.asker, Asker::Region(asker, _) if asker == peer));
            }
        }
    }

    fn resend_to_others(&mut self, node: NodeId) {
        let now = self.now.mono;
        for ask in self.gateway.asks.values_mut() {
            for leg in ask.fan.values_mut().filter(|leg| leg.sent_to == Some(node) && leg.answer.is_none()) {
                leg.fault = format!("replica {} of shard {} is gone", node.replica, node.shard);
                leg.again_at = leg.again_at.min(now + RETRY_AFTER);
            }
        }
    }

    pub(crate) fn tick_gateway(&mut self) {
        let now = self.now.mono;
        let over: Vec<u64> = self.gateway.asks.iter().filter(|(_, ask)| ask.deadline <= now).map(|(n, _)| *n).collect();
        for number in over {
            self.out_of_time(number);
        }
        let due: Vec<(u64, ShardNumber)> = (self.gateway.asks.iter())
            .flat_map(|(number, ask)| {
                let late = |leg: &Leg| leg.answer.is_none() && leg.again_at <= now;
                ask.fan.iter().filter(move |(_, leg)| late(leg)).map(move |(shard, _)| (*number, *shard))
            })
            .collect();
        for (number, shard) in due {
            self.send_leg(number, shard);
        }
        self.tick_region_legs();
    }

    fn out_of_time(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        match &ask.plan {
            Plan::Visible(reply) => {
                let reply = reply.clone();
                return self.finish_acknowledged(number, reply);
            }
            Plan::Region(_) if ask.request.body.changes() => {
                let refusal = self.refusal_without(number, self.state.primary().1);
                return self.finish(number, Err(refusal));
            }
            _ => {}
        }
        let waited = self.now.mono.saturating_sub(ask.arrived);
        let silent: Vec<&Leg> = ask.fan.values().filter(|leg| leg.answer.is_none()).collect();
        let shards: Vec<ShardNumber> =
            ask.fan.iter().filter(|(_, leg)| leg.answer.is_none()).map(|(shard, _)| *shard).collect();
        let refusal = match silent.first() {
            Some(leg) if matches!(&ask.plan, Plan::Filtered(delete) if delete.has_written()) => {
                Refusal::OutcomeUnknown(leg.fault.clone())
            }
            Some(leg) => Refusal::Unavailable { reason: leg.fault.clone(), shards },
            None => Refusal::Timeout(waited),
        };
        self.finish(number, Err(refusal));
    }

    /// Answers the client and forgets the request.
    fn finish(&mut self, number: u64, body: Result<ReplyBody, Refusal>) {
        let freshness = self.no_freshness();
        self.finish_with(number, Reply { body, freshness });
    }

    fn finish_with(&mut self, number: u64, reply: Reply) {
        self.forget_calls(number);
        let Some(ask) = self.gateway.asks.remove(&number) else { return };
        if let Plan::Region(leg) = &ask.plan
            && let Some(call) = leg.call()
        {
            self.gateway.regions.remove(&call);
        }
        *self.counters.outcomes.entry(reply.freshness.outcome).or_default() += 1;
        self.reply(&ask.asker, reply);
    }

    fn forget_calls(&mut self, number: u64) {
        if let Some(ask) = self.gateway.asks.get(&number) {
            for leg in ask.fan.values() {
                self.gateway.calls.remove(&leg.number);
            }
        }
    }

    fn reply(&mut self, asker: &Asker, reply: Reply) {
        self.out.push(match asker {
            Asker::Ticket(ticket) => Command::Reply { ticket: *ticket, reply },
            Asker::Region(peer, call) => {
                let message = RegionMessage::Answer(*call, RegionAnswer::Reply(reply));
                Command::SendRegion(peer.clone(), message)
            }
        });
    }

    /// The freshness of an answer that reflects nothing but this pod's own word.
    fn no_freshness(&self) -> Freshness {
        let served_region = self.identity.genesis.region.clone();
        Freshness {
            staleness: Duration::MAX,
            served_region,
            token: VersionVector::default(),
            stale: false,
            outcome: Outcome::Fresh,
        }
    }
}

/// Whom to send a call to: the leader where only it can answer, else this replica, else whoever has not been tried.
fn choose(me: NodeId, shard: ShardNumber, leg: &Leg, leader: Option<NodeId>, replicas: &[NodeId]) -> Option<NodeId> {
    // Every third attempt goes round, in case what is believed of the leader is wrong.
    let guess = leg.attempt % 3 != 2;
    if let (true, Some(leader)) = (leg.leader && guess, leader) {
        return Some(leader);
    }
    if me.shard == shard && leg.attempt == 0 {
        return Some(me);
    }
    let mut all = replicas.to_vec();
    if me.shard == shard {
        all.push(me);
    }
    let turn = leg.attempt + usize::try_from(me.replica.0 % 1024).unwrap_or_default();
    (!all.is_empty()).then(|| all[turn % all.len()])
}
