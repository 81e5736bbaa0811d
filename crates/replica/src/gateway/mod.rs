//! What clients ask of the region, whichever pod they ask: spread over the shards, retried, merged.
//!
//! Each request is an [`Ask`]: a fan of calls to shards, and a plan that says what their answers mean. Calls are harmless
//! when repeated (writes by their id), so a call without a good answer is sent again, to the leader or to another replica,
//! until the client's time is over. The first answer counts, whichever attempt it belongs to. Each call carries the time
//! that is left, and a read that nobody waits for is cancelled where it runs.
//!
//! A change is refused, so that clients and meshes repeat it, only if each of its attempts was: then nothing was proposed
//! anywhere. Else its outcome is unknown.

mod collections;
mod evaluated;
mod filtered;
mod merge;
mod reads;
mod region;
mod visible;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Body, Freshness, Outcome, Refusal, Reply, ReplyBody, Request};
use meridian_model::{LogIndex, ShardNumber, VersionVector};
use meridian_proto::frame::{NodeId, PeerMessage, RegionAnswer, RegionMessage, ShardAnswer, ShardCall};

use crate::injection::InjectedBug;
use crate::shard_calls::{Requester, shard_message};
use crate::{Command, Peer, Replica};

use evaluated::Admission;
pub(crate) use visible::Parked;

/// Client requests that one gateway may have under way; more are refused.
const ASKS_WAITING: usize = 8192;
/// Without an answer in this time a call is sent to another replica too. What was sent before stays under way, and the
/// first answer counts.
const PATIENCE: Duration = Duration::from_millis(400);
/// Each replica that has a read and does not answer doubles the patience, this often at most: several that are slow must
/// not all do the same work.
const DOUBLINGS: usize = 5;
/// A call that was refused for the moment is sent again after this.
const RETRY_AFTER: Duration = Duration::from_millis(15);
/// The longest that any request is worked on.
const LONGEST: Duration = Duration::from_secs(60);

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Of each shard that a change was sent to, an entry that was applied before.
    sent_at: BTreeMap<ShardNumber, LogIndex>,
    /// An attempt at the change was not refused: it may have taken place, in part or in full, or may still do so.
    may_have_happened: bool,
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
    /// Who has it and has not answered, and under which number. A replica gets a repeat under the same number, and a
    /// read that it works on already is not begun again.
    sent: Vec<Sent>,
    attempt: usize,
    /// When the attempt was sent that the answer belongs to, by the clock of ages.
    sent_at: Duration,
    again_at: Duration,
    answer: Option<ShardAnswer>,
    /// Why the last attempt was in vain.
    fault: String,
}

/// A call that a replica has and has not answered.
#[derive(Debug)]
struct Sent {
    to: NodeId,
    /// Its number.
    call: u64,
    /// How often it was sent under that number. An answer belongs to one of the copies.
    copies: u32,
    /// By the clock of ages; of a repeat under the same number, that of the first, so that no answer seems younger.
    at: Duration,
}

impl Leg {
    /// How long to wait before another replica is tried.
    fn patience(&self) -> Duration {
        let doublings = if self.call.is_read() { self.sent.len().saturating_sub(1).min(DOUBLINGS) } else { 0 };
        PATIENCE * (1 << doublings)
    }
}

/// The requests of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    asks: BTreeMap<u64, Ask>,
    askers: BTreeMap<Asker, u64>,
    /// Number of a call under way → its ask and shard.
    calls: BTreeMap<u64, (u64, ShardNumber)>,
    /// Number of a call to another region → its ask.
    regions: BTreeMap<u64, u64>,
    heard: region::RegionsHeard,
    evaluated: evaluated::Evaluated,
}

impl Replica {
    pub(crate) fn ask(&mut self, asker: Asker, request: Request) {
        if self.gateway.asks.len() >= ASKS_WAITING {
            return self.turn_away(&asker, format!("{ASKS_WAITING} requests are under way at this pod"));
        }
        if let (Asker::Region(..), Body::DeleteByFilter { .. }) = (&asker, &request.body) {
            match self.gateway.evaluated.admit(&asker, self.now.mono) {
                Admission::New => {}
                // The first one is answered.
                Admission::Repeated => return,
                Admission::Full => {
                    return self.turn_away(&asker, "too many deletes by filter in the last minute".into());
                }
            }
        }
        let number = self.number();
        let deadline = self.now.mono + request.timeout.min(LONGEST);
        let (arrived, arrived_age) = (self.now.mono, self.now.age);
        let plan = Plan::Write;
        self.gateway.askers.insert(asker.clone(), number);
        let (fan, sent_at, may_have_happened) = (BTreeMap::new(), BTreeMap::new(), false);
        let ask = Ask { asker, request, arrived, arrived_age, deadline, plan, fan, sent_at, may_have_happened };
        self.gateway.asks.insert(number, ask);
        self.begin(number);
    }

    fn turn_away(&mut self, asker: &Asker, why: String) {
        let reply = Reply { body: Err(Refusal::Overloaded(why)), freshness: self.no_freshness() };
        self.reply(asker, reply);
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
                sent: Vec::new(),
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
        let fresh = self.number();
        let me = self.me();
        let leader = self.nodes.leader(shard);
        let replicas = self.nodes.of_shard(shard);
        let (now, sent_at) = (self.now.mono, self.now.age);
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let left = ask.deadline.saturating_sub(now);
        let Some(leg) = ask.fan.get_mut(&shard) else { return };
        let to = choose(me, shard, leg, leader, &replicas);
        leg.attempt += 1;
        let mut body = leg.call.clone();
        if body.is_change() {
            let Some(applied) = self.nodes.applied(shard) else {
                leg.again_at = now + RETRY_AFTER;
                return;
            };
            body = body.first_sent_at(*ask.sent_at.entry(shard).or_insert(applied));
        }
        // What is sent without a connection is lost, and a change may then not be refused any more.
        let reaches = |node: &NodeId| !body.is_change() || *node == me || self.nodes.is_connected(*node);
        let Some(node) = to.filter(reaches) else {
            leg.again_at = now + RETRY_AFTER;
            return;
        };
        leg.fault = format!("replica {} of shard {shard} does not answer", node.replica);
        let call = match leg.sent.iter_mut().find(|sent| sent.to == node) {
            Some(sent) => {
                sent.copies += 1;
                sent.call
            }
            None => {
                leg.sent.push(Sent { to: node, call: fresh, copies: 1, at: sent_at });
                fresh
            }
        };
        leg.again_at = now + leg.patience();
        let body = body.with_time_left(left);
        self.gateway.calls.insert(call, (number, shard));
        if node == me {
            self.shard_call(Requester::Own(call), body);
        } else {
            self.send(node, shard_message(call, body));
        }
    }

    pub(crate) fn shard_answer(&mut self, from: Option<NodeId>, call: u64, answer: ShardAnswer) {
        if let ShardAnswer::Definitions { largest, standing } = answer {
            return self.definitions_heard(largest, standing);
        }
        let Some((number, shard)) = self.gateway.calls.remove(&call) else { return };
        let now = self.now.mono;
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let Some(leg) = ask.fan.get_mut(&shard) else { return };
        let answered = leg.sent.iter().position(|sent| sent.call == call).map(|at| leg.sent.swap_remove(at));
        let is_refused = answer.is_refusal() && answered.as_ref().is_some_and(|sent| sent.copies == 1);
        ask.may_have_happened |= leg.call.is_change() && !is_refused;
        let sent_to = answered.as_ref().map(|sent| sent.to);
        let others = !leg.sent.is_empty();
        match answer {
            ShardAnswer::NotLeader(hint) => {
                leg.fault = "the shard has no leader just now".into();
                let hinted = hint.map(|replica| NodeId { shard, replica });
                leg.again_at = now + RETRY_AFTER;
                let at_once = hinted.is_some() && hinted != sent_to && leg.attempt % 3 != 0;
                self.nodes.hint(shard, hint);
                if at_once {
                    self.send_leg(number, shard);
                }
            }
            ShardAnswer::SteppedDown => {
                leg.fault = "the leader of the shard stepped down while it worked on the write".into();
                leg.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Busy(why) => {
                leg.fault = why;
                leg.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Unknown => {
                leg.fault = format!("a replica of shard {shard} runs a later release and answered in an unknown form");
                leg.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Unsupported(reason) => {
                self.finish(number, Err(Refusal::Unavailable { shards: vec![shard], reason }));
            }
            ShardAnswer::Forgotten => {
                let why = format!("shard {shard} no longer knows whether it took the write");
                self.finish(number, Err(Refusal::OutcomeUnknown(why)));
            }
            ShardAnswer::Reached(false) => {
                leg.fault = "the write is not visible yet".into();
                leg.again_at = now;
            }
            // An earlier attempt is still worked on, or something may have been done.
            ShardAnswer::Overloaded(why) if others || ask.may_have_happened => {
                leg.fault = why;
                leg.again_at = now + if others { leg.patience() } else { RETRY_AFTER };
            }
            ShardAnswer::Overloaded(why) => self.finish(number, Err(Refusal::Overloaded(why))),
            answer => {
                if let (true, Some(node)) = (leg.leader, from) {
                    self.nodes.hint(shard, Some(node.replica));
                }
                leg.answer = Some(answer);
                leg.sent_at = answered.map_or(leg.sent_at, |sent| sent.at);
                let (is_read, rest) = (leg.call.is_read(), std::mem::take(&mut leg.sent));
                ask.may_have_happened |= leg.call.is_change() && !rest.is_empty();
                self.forget_sent(is_read, rest);
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
                let of_it = |asker: &&Asker| matches!(asker, Asker::Region(asker, _) if asker == peer);
                let gone: Vec<Asker> = self.gateway.askers.keys().filter(of_it).cloned().collect();
                gone.iter().for_each(|asker| self.asker_gone(asker));
            }
        }
    }

    fn resend_to_others(&mut self, node: NodeId) {
        let now = self.now.mono;
        for ask in self.gateway.asks.values_mut() {
            for leg in ask.fan.values_mut() {
                let Some(at) = leg.sent.iter().position(|sent| sent.to == node) else { continue };
                let lost = leg.sent.swap_remove(at);
                ask.may_have_happened |= leg.call.is_change();
                self.gateway.calls.remove(&lost.call);
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
        let is_read = !ask.request.body.changes();
        let refusal = match silent.first() {
            // Replicas that have a read are slow, not away.
            Some(_) if is_read && silent.iter().all(|leg| !leg.sent.is_empty()) => Refusal::Timeout(waited),
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

    fn finish_with(&mut self, number: u64, mut reply: Reply) {
        self.forget_calls(number);
        let Some(ask) = self.gateway.asks.remove(&number) else { return };
        self.gateway.askers.remove(&ask.asker);
        if let (true, Err(refusal)) = (ask.may_have_happened, &reply.body)
            && refusal.invites_repeat()
            && !self.settings.injects(InjectedBug::RefuseUnknown)
        {
            reply.body = Err(Refusal::OutcomeUnknown(refusal.to_string()));
        }
        *self.counters.outcomes.entry(reply.freshness.outcome).or_default() += 1;
        self.reply(&ask.asker, reply);
    }

    /// Nobody waits for the answer any more. What only reads is ended; a change that is half done goes on.
    pub(crate) fn asker_gone(&mut self, asker: &Asker) {
        let Some(number) = self.gateway.askers.get(asker).copied() else { return };
        if self.gateway.asks.get(&number).is_some_and(|ask| !ask.request.body.changes()) {
            self.forget_calls(number);
            self.gateway.asks.remove(&number);
            self.gateway.askers.remove(asker);
        }
    }

    /// Ends the calls of an ask that have not been answered.
    fn forget_calls(&mut self, number: u64) {
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        ask.may_have_happened |= ask.fan.values().any(|leg| leg.call.is_change() && !leg.sent.is_empty());
        let legs: Vec<_> =
            ask.fan.values_mut().map(|leg| (leg.call.is_read(), std::mem::take(&mut leg.sent))).collect();
        let region = match &ask.plan {
            Plan::Region(leg) => leg.call(),
            _ => None,
        };
        let is_read = !ask.request.body.changes();
        for (is_read, sent) in legs {
            self.forget_sent(is_read, sent);
        }
        if let Some(call) = region
            && self.gateway.regions.remove(&call).is_some()
            && is_read
        {
            let primary = Peer::Region(self.state.primary().1.clone());
            self.out.push(Command::SendRegion(primary, RegionMessage::Cancel(call)));
        }
    }

    fn forget_sent(&mut self, is_read: bool, sent: Vec<Sent>) {
        for Sent { to: node, call, .. } in sent {
            self.gateway.calls.remove(&call);
            if !is_read {
                continue;
            }
            if node == self.me() {
                self.cancel_read(Requester::Own(call));
            } else {
                self.send(node, PeerMessage::Cancel(call));
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

#[cfg(test)]
mod tests;
