//! The replica state machine. Only this file and its submodules name more than one part.
//!
//! `dispatch` routes each event to the part that handles it; `perform` executes the effects of parts.

/// Passes an event to a part and performs its effects, depth-first.
macro_rules! part {
    ($self:ident, $part:ident, $event:expr) => {{
        let event = $event;
        let mut effects = $self.effects.pop().unwrap_or_default();
        let facts = $self.facts();
        let mut cx = Ctx {
            now: $self.now,
            settings: &$self.settings,
            identity: &$self.identity,
            raft: &mut $self.raft,
            state: &$self.state,
            log_bytes: &mut $self.log_bytes,
            numbers: &mut $self.numbers,
            counters: &mut $self.counters,
            facts,
            out: &mut $self.out,
            effects: &mut effects,
        };
        $self.$part.handle(&mut cx, event);
        for effect in effects.drain(..) {
            $self.perform(effect);
        }
        $self.effects.push(effects);
    }};
}

mod apply;
mod dispatch;
mod gateway;
mod leadership;
mod parts;
mod perform;
mod queries;
mod replication;
mod shard_calls;
mod status;

use std::sync::Arc;
use std::time::Duration;

use meridian_gateway::{Directory, Effect as GatewayEffect, Gateway};
use meridian_model::OriginShard;
use meridian_proto::frame::{CallNumbers, NodeId};
use meridian_proto::topology::{Identity, ReplicaStatus};
use meridian_raft::Raft;
use meridian_replication::Effect as ReplicationEffect;
use meridian_replication::follower::Follower;
use meridian_replication::server::Server;
use meridian_shard::State;

use crate::clock::Clock;
use crate::collections::Collections;
use crate::completeness::Statements;
use crate::consensus::Consensus;
use crate::context::Ctx;
use crate::divergence::Divergence;
use crate::drain::Drain;
use crate::effect::Effect;
use crate::log_bytes::LogBytes;
use crate::membership::Membership;
use crate::memory::Memory;
use crate::positions::Positions;
use crate::published::Published;
use crate::reads::Reads;
use crate::snapshots::Snapshots;
use crate::space::Space;
use crate::time::Time;
use crate::versions::Versions;
use crate::writes::Writes;
use crate::{Command, Counters, Event, Now, Settings, Views, consensus, reads};

/// One replica and its gateway.
///
/// [`Replica::step`] handles one event at a time and returns the resulting commands in order. Reader threads see the
/// state as of the last completed step.
pub struct Replica {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    now: Time,
    clock: Clock,
    pub(crate) raft: Raft,
    pub(crate) state: Published,
    log_bytes: LogBytes,
    out: Vec<Command>,
    counters: Counters,
    directory: Directory,
    consensus: Consensus,
    membership: Membership,
    versions: Versions,
    writes: Writes,
    statements: Statements,
    reads: Reads,
    gateway: Gateway,
    /// Unused buffers of gateway effects; nested events take one each.
    gateway_effects: Vec<Vec<GatewayEffect>>,
    positions: Positions,
    /// Unused buffers of part effects.
    effects: Vec<Vec<Effect>>,
    follower: Follower,
    server: Server,
    /// Effect buffer of follower and server, while no effects are performed.
    replication_effects: Vec<ReplicationEffect>,
    snapshots: Snapshots,
    divergence: Divergence,
    collections: Collections,
    space: Space,
    memory: Memory,
    drain: Drain,
    /// Reason why this replica left service, if it did.
    out_of_service: Option<String>,
    numbers: CallNumbers,
}

/// Restored components of a replica.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) log_bytes: LogBytes,
    pub(crate) consensus: Consensus,
    pub(crate) membership: Membership,
    pub(crate) snapshots: Snapshots,
}

impl Replica {
    pub(crate) fn assemble(settings: Settings, identity: Identity, now: Now, parts: Parts) -> Self {
        let Parts { raft, state, log_bytes, consensus, membership, snapshots } = parts;
        let mut directory = Directory::default();
        let shard = identity.genesis.shard;
        for member in membership.members() {
            let node = NodeId { shard, replica: member.replica };
            directory.learn(node, member.address.clone());
        }
        // Call numbers must not repeat those of an earlier process, whose answers may still be in flight.
        let numbers = CallNumbers::behind((now.wall_millis().0 << 20) | (identity.replica.0 & 0xfffff));
        let mut state = settings.prepared(state);
        // The log after the snapshot is applied before the replica serves; graph merging can wait.
        state.defer_merging(true);
        let gateway = Gateway::new(settings.gateway());
        let clock = Clock::new(now, identity.replica, &settings);
        Self {
            settings,
            identity,
            now: Time::new(now),
            clock,
            raft,
            state: Published::new(state),
            log_bytes,
            out: Vec::new(),
            counters: Counters::default(),
            directory,
            consensus,
            membership,
            versions: Versions::default(),
            writes: Writes::default(),
            statements: Statements::default(),
            reads: Reads::default(),
            gateway,
            gateway_effects: Vec::new(),
            positions: Positions::default(),
            effects: Vec::new(),
            follower: Follower::default(),
            replication_effects: Vec::new(),
            server: Server::default(),
            snapshots,
            divergence: Divergence::default(),
            collections: Collections::new(now.mono),
            space: Space::default(),
            memory: Memory::default(),
            drain: Drain::default(),
            out_of_service: None,
            numbers,
        }
    }

    /// Handles one event and returns the resulting commands in order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Command> {
        self.now = self.clock.read(now, self.now, &self.settings);
        self.dispatch(event);
        self.drive();
        // Publish before returning messages, so that every reported state is visible to readers.
        self.state.publish();
        std::mem::take(&mut self.out)
    }

    /// Handles the pending output of the consensus library until none is left.
    fn drive(&mut self) {
        loop {
            if self.reads.wants_quorum() {
                part!(self, reads, reads::Event::AskQuorum);
            }
            let Some(output) = self.raft.output() else { break };
            part!(self, consensus, consensus::Event::Output(output));
        }
    }

    /// Returns `true` while this replica checks a reported divergence. For the simulation.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.divergence.is_checking()
    }

    /// Identity of this replica.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Counters since the start of the process.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Maximum difference of the clocks of any two pods.
    #[must_use]
    pub fn clock_bound(&self) -> Duration {
        self.settings.clock_bound
    }

    /// Fault of the wall clock, for people; `None` while there is none, or it is unknown.
    #[must_use]
    pub fn clock_fault(&self) -> Option<String> {
        self.clock.fault(&self.settings)
    }

    /// Upper bound of the staleness of one origin shard; [`Duration::MAX`] if unknown.
    #[must_use]
    pub fn staleness_of(&self, origin: &OriginShard) -> Duration {
        self.staleness_of_all(std::slice::from_ref(origin))
    }

    /// Views for reader threads.
    #[must_use]
    pub fn views(&self) -> Arc<Views> {
        self.state.views()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Status of this replica and its group.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.replica_status()
    }

    /// Returns `true` if requests should be routed here: the state is loaded, this replica is a member, entries
    /// committed before the start are applied, and it is not draining. A later loss of the leader does not change it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.out_of_service.is_none()
            && !self.is_in_doubt()
            && !self.drain.is_draining()
            && self.consensus.is_caught_up()
    }

    /// See [`State::diverge`].
    #[cfg(feature = "fault-injection")]
    pub fn diverge(&mut self, payload: &meridian_model::Payload) {
        self.state.change().diverge(payload);
        self.state.publish();
    }

    /// Status of the followed origin shards; empty unless this replica leads.
    #[must_use]
    pub fn link_statuses(&self) -> Vec<crate::LinkStatus> {
        self.follower.statuses(self.now.mono)
    }
}

#[cfg(test)]
mod tests;
