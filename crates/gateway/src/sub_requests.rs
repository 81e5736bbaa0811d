//! The calls of a request to shards: receiver, repetition, and the meaning of an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_model::client::Refusal;
use meridian_proto::frame::{NodeId, PeerMessage, ShardAnswer, ShardCall};

use crate::pending::{Phase, Sent, SubRequest};
use crate::{Ctx, Effect, Gateway, Step};

/// Time after which a call that was refused temporarily is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(15);

impl Gateway {
    /// Replaces the sub-requests of a request by these calls, and sends them.
    pub(crate) fn begin_phase(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u64,
        phase: Phase,
        calls: Vec<(ShardNumber, bool, ShardCall)>,
    ) {
        self.forget_calls(cx, number);
        let Some(pending) = self.requests.get_mut(&number) else { return };
        pending.phase = phase;
        pending.sub_requests = BTreeMap::new();
        for (shard, leader, call) in calls {
            let sub_request = SubRequest {
                call,
                leader,
                sent: Vec::new(),
                attempt: 0,
                sent_at: cx.now.age,
                again_at: cx.now.mono,
                answer: None,
                fault: "no replica of the shard is known".into(),
            };
            pending.sub_requests.insert(shard, sub_request);
            cx.effects.push(Effect::Continue(Step::SendSubRequest(number, shard)));
        }
    }

    pub(crate) fn send_sub_request(&mut self, cx: &mut Ctx<'_>, number: u64, shard: ShardNumber) {
        let fresh = cx.numbers.allocate();
        let me = cx.me;
        let leader = cx.directory.leader(shard);
        let replicas = cx.directory.of_shard(shard);
        let (now, sent_at) = (cx.now.mono, cx.now.age);
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let left = pending.deadline.saturating_sub(now);
        let Some(sub_request) = pending.sub_requests.get_mut(&shard) else { return };
        let to = choose(me, shard, sub_request, leader, &replicas);
        sub_request.attempt += 1;
        let mut body = sub_request.call.clone();
        if body.is_change() {
            let Some(applied) = cx.directory.applied(shard) else {
                sub_request.again_at = now + RETRY_AFTER;
                return;
            };
            body = body.first_sent_at(*pending.sent_at.entry(shard).or_insert(applied));
        }
        // Messages without a connection are lost, and afterwards a change can no longer be refused.
        let reaches = |node: &NodeId| !body.is_change() || *node == me || cx.directory.is_connected(*node);
        let Some(node) = to.filter(reaches) else {
            sub_request.again_at = now + RETRY_AFTER;
            return;
        };
        sub_request.fault = format!("replica {} of shard {shard} does not answer", node.replica);
        let call = match sub_request.sent.iter_mut().find(|sent| sent.to == node) {
            Some(sent) => {
                sent.copies += 1;
                sent.call
            }
            None => {
                sub_request.sent.push(Sent { to: node, call: fresh, copies: 1, at: sent_at });
                fresh
            }
        };
        sub_request.again_at = now + sub_request.patience();
        let body = body.with_time_left(left);
        self.calls.insert(call, (number, shard));
        cx.effects.push(if node == me {
            Effect::Call(call, body)
        } else {
            Effect::Send(node, PeerMessage::Call(call, body.into()))
        });
    }

    pub(crate) fn shard_answer(&mut self, cx: &mut Ctx<'_>, from: Option<NodeId>, call: u64, answer: ShardAnswer) {
        let Some((number, shard)) = self.calls.remove(&call) else { return };
        let now = cx.now.mono;
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let Some(sub_request) = pending.sub_requests.get_mut(&shard) else { return };
        let sent = &mut sub_request.sent;
        let answered = sent.iter().position(|sent| sent.call == call).map(|at| sent.swap_remove(at));
        let is_refused = answer.is_refusal() && answered.as_ref().is_some_and(|sent| sent.copies == 1);
        pending.may_have_happened |= sub_request.call.is_change() && !is_refused;
        let sent_to = answered.as_ref().map(|sent| sent.to);
        let others = !sub_request.sent.is_empty();
        match answer {
            ShardAnswer::NotLeader(hint) => {
                sub_request.fault = "the shard has no leader just now".into();
                let hinted = hint.map(|replica| NodeId { shard, replica });
                sub_request.again_at = now + RETRY_AFTER;
                let at_once = hinted.is_some() && hinted != sent_to && sub_request.attempt % 3 != 0;
                cx.directory.hint(shard, hint);
                if at_once {
                    self.send_sub_request(cx, number, shard);
                }
            }
            ShardAnswer::SteppedDown => {
                sub_request.fault = "the leader of the shard stepped down while it worked on the write".into();
                sub_request.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Busy(why) => {
                sub_request.fault = why;
                sub_request.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Unknown => {
                sub_request.fault =
                    format!("a replica of shard {shard} runs a later release and answered in an unknown form");
                sub_request.again_at = now + RETRY_AFTER;
            }
            ShardAnswer::Unsupported(reason) => {
                self.finish(cx, number, Err(Refusal::Unavailable { shards: vec![shard], reason }));
            }
            ShardAnswer::Forgotten => {
                let why = format!("shard {shard} no longer knows whether it took the write");
                self.finish(cx, number, Err(Refusal::OutcomeUnknown(why)));
            }
            ShardAnswer::Reached(false) => {
                sub_request.fault = "the write is not visible yet".into();
                sub_request.again_at = now;
            }
            // An earlier attempt is still in progress, or may have had an effect.
            ShardAnswer::Overloaded(why) if others || pending.may_have_happened => {
                sub_request.fault = why;
                sub_request.again_at = now + if others { sub_request.patience() } else { RETRY_AFTER };
            }
            ShardAnswer::Overloaded(why) => self.finish(cx, number, Err(Refusal::Overloaded(why))),
            answer => {
                if let (true, Some(node)) = (sub_request.leader, from) {
                    cx.directory.hint(shard, Some(node.replica));
                }
                sub_request.answer = Some(answer);
                sub_request.sent_at = answered.map_or(sub_request.sent_at, |sent| sent.at);
                let (is_read, rest) = (sub_request.call.is_read(), std::mem::take(&mut sub_request.sent));
                pending.may_have_happened |= sub_request.call.is_change() && !rest.is_empty();
                let is_whole = pending.sub_requests.values().all(|sub_request| sub_request.answer.is_some());
                self.forget_sent(cx, is_read, rest);
                if is_whole {
                    self.phase_answered(cx, number);
                }
            }
        }
    }

    /// Every sub-request has its answer.
    fn phase_answered(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let now = cx.now.age;
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let mut sub_requests = std::mem::take(&mut pending.sub_requests);
        for sub_request in sub_requests.values_mut() {
            if let Some(ShardAnswer::Part(part)) = &mut sub_request.answer {
                // The answer aged in transit and while other shards were awaited.
                let since = now.saturating_sub(sub_request.sent_at).saturating_sub(part.took);
                part.age = part.age.saturating_add(since);
            }
        }
        let answers: Vec<(ShardNumber, ShardAnswer)> = sub_requests
            .into_iter()
            .filter_map(|(shard, sub_request)| sub_request.answer.map(|answer| (shard, answer)))
            .collect();
        match std::mem::replace(&mut pending.phase, Phase::Write) {
            Phase::Write => self.write_answered(cx, number, answers),
            Phase::ResolveCollection => self.resolved(cx, number, answers),
            Phase::CreateOnFirstShard => self.create_answered(cx, number, answers),
            Phase::CreateOnOthers(covers) => self.create_spread(cx, number, covers, answers),
            Phase::DropOnFirstShard => self.drop_answered(cx, number, answers),
            Phase::DropOnOthers { existed, covers } => self.drop_spread(cx, number, existed, covers, answers),
            Phase::Read(plan) => self.read_answered(cx, number, plan, answers),
            Phase::AwaitVisible(reply) => self.finish_visible(cx, number, reply),
            Phase::DeleteByFilter(delete) => self.filtered_answered(cx, number, delete, answers),
            Phase::Relay(relay) => pending.phase = Phase::Relay(relay),
        }
    }

    /// A replica is no longer connected: its unanswered calls are sent to another.
    pub(crate) fn resend_to_others(&mut self, cx: &Ctx<'_>, node: NodeId) {
        let now = cx.now.mono;
        for pending in self.requests.values_mut() {
            for sub_request in pending.sub_requests.values_mut() {
                let Some(at) = sub_request.sent.iter().position(|sent| sent.to == node) else { continue };
                let lost = sub_request.sent.swap_remove(at);
                pending.may_have_happened |= sub_request.call.is_change();
                self.calls.remove(&lost.call);
                sub_request.fault = format!("replica {} of shard {} is gone", node.replica, node.shard);
                sub_request.again_at = sub_request.again_at.min(now + RETRY_AFTER);
            }
        }
    }

    /// Sends calls again that have no answer for too long.
    pub(crate) fn resend_late(&self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        for (number, pending) in &self.requests {
            let is_late = |sub_request: &SubRequest| sub_request.answer.is_none() && sub_request.again_at <= now;
            let late = pending.sub_requests.iter().filter(|(_, sub_request)| is_late(sub_request));
            let send = |(shard, _): (&ShardNumber, _)| Effect::Continue(Step::SendSubRequest(*number, *shard));
            cx.effects.extend(late.map(send));
        }
    }

    pub(crate) fn forget_sent(&mut self, cx: &mut Ctx<'_>, is_read: bool, sent: Vec<Sent>) {
        for Sent { to: node, call, .. } in sent {
            self.calls.remove(&call);
            if !is_read {
                continue;
            }
            cx.effects.push(if node == cx.me {
                Effect::CancelCall(call)
            } else {
                Effect::Send(node, PeerMessage::Cancel(call))
            });
        }
    }
}

/// The receiver of a call: the leader if only it can answer, else the local replica, else one that was not tried.
fn choose(
    me: NodeId,
    shard: ShardNumber,
    sub_request: &SubRequest,
    leader: Option<NodeId>,
    replicas: &[NodeId],
) -> Option<NodeId> {
    // Every third attempt tries the next replica, in case the known leader is wrong.
    let guess = sub_request.attempt % 3 != 2;
    if let (true, Some(leader)) = (sub_request.leader && guess, leader) {
        return Some(leader);
    }
    if me.shard == shard && sub_request.attempt == 0 {
        return Some(me);
    }
    let mut all = replicas.to_vec();
    if me.shard == shard {
        all.push(me);
    }
    let turn = sub_request.attempt + usize::try_from(me.replica.0 % 1024).unwrap_or_default();
    (!all.is_empty()).then(|| all[turn % all.len()])
}
