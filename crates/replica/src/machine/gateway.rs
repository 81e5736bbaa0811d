//! Connects the gateway of this pod.

use meridian_gateway::{Ctx as GatewayCtx, Effect, Event, GroupVersions, Time};
use meridian_model::{BehaviorVersion, ShardNumber};
use meridian_proto::frame::{NodeId, ShardAnswer, ShardCall};
use meridian_proto::topology::Identity;
use meridian_shard::State;

use super::Replica;
use crate::context::Ctx;
use crate::effect::Requester;
use crate::injection::InjectedBug;
use crate::versions::Versions;
use crate::{Command, Peer, Settings, collections};

impl Replica {
    /// Records that a message of another region was received.
    pub(super) fn region_heard(&mut self, from: &Peer) {
        if let Peer::Region(region) = from {
            self.route(Event::Heard(region.clone()));
        }
    }

    /// Routes an answer of a replica to the gateway or to the shard's parts.
    pub(super) fn answered(&mut self, from: Option<NodeId>, call: u64, answer: ShardAnswer) {
        match answer {
            ShardAnswer::Definitions { largest, standing } => {
                part!(self, collections, collections::Event::Definitions { largest, standing });
            }
            answer => self.route(Event::ShardAnswer { from, call, answer }),
        }
    }

    /// Versions of the group, for checks of requests.
    pub(super) fn group_versions(&self) -> GroupVersions<'_> {
        group_versions(&self.identity, &self.settings, &self.state, &self.versions)
    }

    /// Executes a call to this replica's shard if the group has finalized its behavior version. A follower may lag, so
    /// it redirects writes to the leader and reads to another replica.
    pub(super) fn versioned_call(&mut self, from: Requester, needs: BehaviorVersion, call: ShardCall) {
        let needs = needs.max(call.needs());
        match self.group_versions().refuse(needs) {
            Some(why) if self.is_leading() || needs > BehaviorVersion::newest() => {
                self.answer(from, ShardAnswer::Unsupported(why));
            }
            Some(why) if call.is_read() => self.answer(from, ShardAnswer::Busy(why)),
            _ => self.shard_call(from, call),
        }
    }

    /// Behavior version that every shard of this region has finalized, as reported by the leaders.
    pub(super) fn behavior_of_region(&self) -> BehaviorVersion {
        let own = self.identity.genesis.shard;
        let finalized = |shard| if shard == own { self.state.behavior() } else { self.directory.behavior(shard) };
        let shards = ShardNumber::all(self.identity.genesis.shards);
        shards.map(finalized).min().unwrap_or(BehaviorVersion::FIRST)
    }

    /// Passes an event to the gateway and performs its effects, depth-first.
    pub(super) fn route(&mut self, event: Event) {
        let mut effects = self.gateway_effects.pop().unwrap_or_default();
        let mut cx = GatewayCtx {
            now: Time { mono: self.now.mono, age: self.now.age },
            me: self.identity.node(),
            region: &self.identity.genesis.region,
            shards: self.identity.genesis.shards,
            // All shards have equally many replicas. The own shard's count is current also during a membership change.
            replicas: u16::try_from(self.raft.voter_count()).unwrap_or(u16::MAX),
            primary: self.state.primary(),
            is_primary: self.state.is_primary(),
            versions: group_versions(&self.identity, &self.settings, &self.state, &self.versions),
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
                Effect::Call(call, body) => {
                    self.versioned_call(Requester::Own(call), BehaviorVersion::FIRST, body);
                }
                Effect::CancelCall(call) => self.cancel_read(Requester::Own(call)),
                Effect::Reply { ticket, reply } => self.out.push(Command::Reply { ticket, reply }),
                Effect::Continue(step) => self.route(Event::Step(step)),
            }
        }
        self.gateway_effects.push(effects);
    }
}

/// Takes fields instead of `self`, so that other fields can be borrowed.
fn group_versions<'a>(
    identity: &'a Identity,
    settings: &'a Settings,
    state: &State,
    versions: &'a Versions,
) -> GroupVersions<'a> {
    let finalized = state.behavior();
    let is_unchecked = settings.injects(InjectedBug::PublishUnchecked);
    GroupVersions {
        finalized,
        published: if is_unchecked { finalized } else { state.published() },
        region: &identity.genesis.region,
        others: &settings.other_regions,
        reported: versions.reported(),
    }
}
