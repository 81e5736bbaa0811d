//! Relays calls of other regions to a replica of the addressed shard.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_proto::frame::{Call, NodeId, Peer, PeerMessage, TailAnswer, TailCall};

use super::{Ctx, FORGET_AFTER, Reader, Refusal, Server};
use crate::Effect;

/// Relayed calls.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// By the number under which they are relayed.
    by_number: BTreeMap<u64, Relay>,
    /// Relay number by the caller's connection and call number.
    numbers: BTreeMap<(Peer, u64), u64>,
}

#[derive(Debug)]
struct Relay {
    to: (Peer, u64),
    wanted: Wanted,
    node: NodeId,
    /// The replica has answered: further silence may only mean that the reader grants no credit. Before, the call may
    /// be lost.
    answered: bool,
    last_received: Duration,
}

/// An opening call and the replicas that could not serve it.
#[derive(Debug)]
struct Wanted {
    shard: ShardNumber,
    call: TailCall,
    tried: Vec<NodeId>,
    /// One of them may be able to serve it later.
    unavailable: bool,
}

impl Server {
    pub(super) fn region_call(&mut self, cx: &mut Ctx<'_>, from: &Peer, call: u64, shard: ShardNumber, body: TailCall) {
        let to = (from.clone(), call);
        if let Some(number) = self.relays.numbers.get(&to).copied() {
            return self.relays.pass_on(cx, number, body);
        }
        let reader = Reader::Region(from.clone(), call);
        if self.streams.contains_key(&reader) {
            return self.serve_call(cx, reader, body);
        }
        if !matches!(body, TailCall::Credit(_) | TailCall::Close) {
            self.try_replicas(cx, to, Wanted { shard, call: body, tried: Vec::new(), unavailable: false });
        }
    }

    /// Tries the replicas of the shard one after the other, including this one, until one serves the call. Some lag,
    /// some have released the log, and a removed one may have stale membership. The answer is `Gone` only if the log of
    /// every replica is too short.
    fn try_replicas(&mut self, cx: &mut Ctx<'_>, to: (Peer, u64), mut wanted: Wanted) {
        let reader = Reader::Region(to.0.clone(), to.1);
        for node in (cx.candidates)(wanted.shard) {
            if wanted.tried.contains(&node) {
                continue;
            }
            if node != cx.me {
                return self.relays.begin(cx, to, node, wanted);
            }
            let Some(refusal) = self.try_serve(cx, &reader, &wanted.call) else { return };
            wanted.unavailable |= refusal != Refusal::Gone;
            wanted.tried.push(node);
        }
        let is_gone = !wanted.unavailable && !wanted.tried.is_empty();
        cx.send(&reader, if is_gone { TailAnswer::Gone } else { TailAnswer::Unavailable });
    }

    pub(super) fn relayed(&mut self, cx: &mut Ctx<'_>, from: NodeId, call: u64, answer: TailAnswer) {
        let Some(relay) = self.relays.by_number.get_mut(&call).filter(|relay| relay.node == from) else { return };
        relay.last_received = cx.now;
        relay.answered = true;
        let to = Reader::Region(relay.to.0.clone(), relay.to.1);
        match answer {
            TailAnswer::Records { .. } => {}
            // Another replica may have a longer or a more recent log.
            TailAnswer::Gone | TailAnswer::Unavailable => {
                let Some(Relay { to, mut wanted, .. }) = self.relays.remove(call) else { return };
                wanted.tried.push(from);
                wanted.unavailable |= answer != TailAnswer::Gone;
                return self.try_replicas(cx, to, wanted);
            }
            TailAnswer::Seed(_) => drop(self.relays.remove(call)),
        }
        cx.send(&to, answer);
    }
}

impl Relays {
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    fn begin(&mut self, cx: &mut Ctx<'_>, to: (Peer, u64), node: NodeId, wanted: Wanted) {
        let number = cx.numbers.allocate();
        cx.effects.push(Effect::Send(node, PeerMessage::Call(number, Call::Tail(wanted.call.clone()))));
        self.numbers.insert(to.clone(), number);
        self.by_number.insert(number, Relay { to, wanted, node, answered: false, last_received: cx.now });
    }

    /// Forwards a later call of the reader.
    fn pass_on(&mut self, cx: &mut Ctx<'_>, number: u64, body: TailCall) {
        let Some(relay) = self.by_number.get_mut(&number) else { return };
        if relay.answered {
            relay.last_received = cx.now;
        }
        let node = relay.node;
        if body == TailCall::Close {
            self.remove(number);
        }
        cx.effects.push(Effect::Send(node, PeerMessage::Call(number, Call::Tail(body))));
    }

    fn remove(&mut self, number: u64) -> Option<Relay> {
        let relay = self.by_number.remove(&number)?;
        self.numbers.remove(&relay.to);
        Some(relay)
    }

    pub(super) fn lost(&mut self, cx: &mut Ctx<'_>, peer: &Peer) {
        let concerns = |relay: &Relay| relay.to.0 == *peer || Peer::Node(relay.node) == *peer;
        for number in self.numbers_of(concerns) {
            let Some(relay) = self.remove(number) else { continue };
            if relay.to.0 == *peer {
                let close = PeerMessage::Call(number, Call::Tail(TailCall::Close));
                cx.effects.push(Effect::Send(relay.node, close));
            } else {
                cx.send(&Reader::Region(relay.to.0, relay.to.1), TailAnswer::Unavailable);
            }
        }
    }

    /// Drops relays to silent replicas. Readers have no time limit of their own, so they receive `Unavailable` and
    /// retry.
    pub(super) fn tick(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now;
        for number in self.numbers_of(|relay| now.saturating_sub(relay.last_received) >= FORGET_AFTER) {
            if let Some(relay) = self.remove(number) {
                cx.send(&Reader::Region(relay.to.0, relay.to.1), TailAnswer::Unavailable);
            }
        }
    }

    fn numbers_of(&self, concerns: impl Fn(&Relay) -> bool) -> Vec<u64> {
        self.by_number.iter().filter(|(_, relay)| concerns(relay)).map(|(number, _)| *number).collect()
    }
}
