//! The gateway of this pod.

use meridian_gateway::{Ctx as GatewayCtx, Effect, Event, Time};
use meridian_proto::frame::{NodeId, ShardAnswer};

use super::Replica;
use crate::context::Ctx;
use crate::effect::Requester;
use crate::{Command, Peer, collections};

impl Replica {
    /// Something came from another region.
    pub(super) fn region_heard(&mut self, from: &Peer) {
        if let Peer::Region(region) = from {
            self.route(Event::Heard(region.clone()));
        }
    }

    /// Another replica, or this one, answered a call of the gateway or of this shard.
    pub(super) fn answered(&mut self, from: Option<NodeId>, call: u64, answer: ShardAnswer) {
        match answer {
            ShardAnswer::Definitions { largest, standing } => {
                part!(self, collections, collections::Event::Definitions { largest, standing });
            }
            answer => self.route(Event::ShardAnswer { from, call, answer }),
        }
    }

    /// Gives the gateway an event and does what it wants done, depth-first.
    pub(super) fn route(&mut self, event: Event) {
        let mut effects = self.gateway_effects.pop().unwrap_or_default();
        let mut cx = GatewayCtx {
            now: Time { mono: self.now.mono, age: self.now.age },
            me: self.identity.node(),
            region: &self.identity.genesis.region,
            shards: self.identity.genesis.shards,
            // Shards have equally many; the own shard knows best, and during a change tells what is rather than what shall be.
            replicas: u16::try_from(self.raft.voter_count()).unwrap_or(u16::MAX),
            primary: self.state.primary(),
            is_primary: self.state.is_primary(),
            table: self.state.table(),
            directory: &mut self.directory,
            numbers: &mut self.numbers,
            outcomes: &mut self.counters.outcomes,
            effects: &mut effects,
        };
        self.gateway.handle(&mut cx, event);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(node, message) => self.out.push(Command::Send(node, message)),
                Effect::SendRegion(peer, message) => self.out.push(Command::SendRegion(peer, message)),
                Effect::Call(call, body) => self.shard_call(Requester::Own(call), body),
                Effect::CancelCall(call) => self.cancel_read(Requester::Own(call)),
                Effect::Reply { ticket, reply } => self.out.push(Command::Reply { ticket, reply }),
                Effect::Continue(step) => self.route(Event::Step(step)),
            }
        }
        self.gateway_effects.push(effects);
    }
}
