//! The machine itself: its parts, and where each event goes.

use std::sync::Arc;
use std::time::Duration;

use meridian_model::{BehaviorVersion, OriginShard, ReplicaId};
use meridian_proto::frame::{
    Call, CallAnswer, NodeId, PeerMessage, RegionAnswer, RegionCall, RegionMessage, ShardAnswer, TailAnswer,
    Unsupported,
};
use meridian_proto::topology::{Identity, ReplicaStatus};
use meridian_raft::Raft;
use meridian_shard::State;

use crate::clock::{ClockExchange, Time};
use crate::completeness::Complete;
use crate::consensus::Consensus;
use crate::gateway::{Gateway, Parked};
use crate::healing::Healing;
use crate::links::Links;
use crate::memory::Memory;
use crate::nodes::Nodes;
use crate::published::Published;
use crate::reads::Reads;
use crate::shard_calls::{Requester, Writes};
use crate::snapshots::Snapshots;
use crate::space::Space;
use crate::tails::Tails;
use crate::topology::Membership;
use crate::wall_clock::WallClock;
use crate::{Command, Counters, Event, Now, Peer, Settings, Views};

/// One replica and its gateway.
///
/// Events go in one by one through [`Replica::step`], which returns what is to be done, in order. Threads that
/// read see the state as it was when the last step returned.
pub struct Replica {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) now: Time,
    pub(crate) clock: WallClock,
    pub(crate) clock_exchange: ClockExchange,
    pub(crate) raft: Raft,
    pub(crate) state: Published,
    pub(crate) out: Vec<Command>,
    pub(crate) counters: Counters,
    pub(crate) nodes: Nodes,
    pub(crate) consensus: Consensus,
    pub(crate) membership: Membership,
    pub(crate) writes: Writes,
    pub(crate) complete: Complete,
    pub(crate) reads: Reads,
    pub(crate) gateway: Gateway,
    /// Questions of gateways for positions that are not applied yet.
    pub(crate) parked: Vec<Parked>,
    pub(crate) links: Links,
    pub(crate) tails: Tails,
    pub(crate) snapshots: Snapshots,
    pub(crate) healing: Healing,
    /// When shard 1 was last asked which collections there are.
    pub(crate) reconciled: Duration,
    pub(crate) space: Space,
    pub(crate) memory: Memory,
    pub(crate) draining: Option<crate::drain::Draining>,
    /// Why this replica must not serve, if so.
    pub(crate) out_of_service: Option<String>,
    next_number: u64,
}

/// What a replica is assembled from at its start.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) consensus: Consensus,
    pub(crate) membership: Membership,
    pub(crate) snapshots: Snapshots,
}

impl Replica {
    pub(crate) fn assemble(settings: Settings, identity: Identity, now: Now, parts: Parts) -> Self {
        let Parts { raft, state, consensus, membership, snapshots } = parts;
        let mut nodes = Nodes::default();
        let shard = identity.genesis.shard;
        for member in membership.members() {
            let node = NodeId { shard, replica: member.replica };
            nodes.learn(node, member.address.clone());
        }
        // Numbers of calls must not repeat those of an earlier life, whose answers may still be under way.
        let next_number = (now.wall_millis().0 << 20) | (identity.replica.0 & 0xfffff);
        let mut state = prepared(&settings, state);
        // What the log holds behind the snapshot is applied before anybody is answered; graphs can wait.
        state.defer_merging(true);
        let clock = WallClock::new(now, identity.replica, settings.max_drift, settings.clock_bound);
        Self {
            settings,
            identity,
            now: Time::new(now),
            clock,
            clock_exchange: ClockExchange::default(),
            raft,
            state: Published::new(state),
            out: Vec::new(),
            counters: Counters::default(),
            nodes,
            consensus,
            membership,
            writes: Writes::default(),
            complete: Complete::default(),
            reads: Reads::default(),
            gateway: Gateway::default(),
            parked: Vec::new(),
            links: Links::default(),
            tails: Tails::default(),
            snapshots,
            healing: Healing::default(),
            reconciled: now.mono,
            space: Space::default(),
            memory: Memory::default(),
            draining: None,
            out_of_service: None,
            next_number,
        }
    }

    /// Takes in one event and returns what is to be done, in order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Command> {
        self.read_clocks(now);
        self.dispatch(event);
        self.drive();
        // What is told to anybody can be read by everybody.
        self.state.publish();
        std::mem::take(&mut self.out)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Tick { random } => self.tick(random),
            Event::Client { ticket, request } => self.ask(crate::gateway::Asker::Ticket(ticket), request),
            Event::Gone { ticket } => self.asker_gone(&crate::gateway::Asker::Ticket(ticket)),
            Event::Met(hello) => self.met(&hello),
            Event::Connected(peer) => self.connected(&peer),
            Event::Lost(peer) => self.lost(&peer),
            Event::Heard(peer) => self.region_heard(&peer),
            Event::Peer(from, message) => self.peer_message(from, message),
            Event::Region(from, message) => self.region_message(from, message),
            Event::Topology { ticket, call } => self.topology_call(ticket, call),
            Event::Persisted { number, first } => self.persisted(number, first),
            Event::ReadDone { job, result } => self.read_done(job, result),
            Event::ReadRefused { job, why } => self.read_refused(job, why),
            Event::SnapshotTaken { id, manifest } => self.snapshot_taken(id, manifest),
            Event::ChunkRead { to, call, bytes } => {
                self.send(to, PeerMessage::Answer(call, CallAnswer::Chunk(bytes)));
            }
            Event::InstallWants { file, offset, len } => self.install_wants(file, offset, len),
            Event::Installed { meta, state } => self.installed(&meta, *state),
            Event::InstallFailed(reason) => self.install_failed(&reason),
            Event::Records { call, records, origin_shards } => self.broker_records(call, records, origin_shards),
            Event::Poison { call, poison } => self.broker_poison(call, poison),
            Event::FreeBytes(free) => self.free_bytes(free),
            Event::MemoryUsed { bytes, limit } => self.memory_used(bytes, limit),
            Event::Drain => self.drain(),
            Event::Finish { within } => self.begin_last_snapshot(within),
        }
    }

    fn tick(&mut self, random: u64) {
        self.raft.tick(random);
        self.tick_consensus();
        self.tick_writes();
        self.tick_clock();
        self.tick_completeness();
        self.tick_reads();
        self.recheck_parked();
        self.tick_gateway();
        self.tick_links();
        self.tick_tails();
        self.tick_space();
        self.tick_snapshots();
        self.tick_healing();
        self.tick_topology();
        self.tick_drain();
    }

    fn met(&mut self, hello: &meridian_proto::frame::Hello) {
        let Some(node) = hello.node else { return };
        if node == self.me() || hello.cluster != self.identity.genesis.cluster {
            return;
        }
        self.nodes.met(node, hello.address.clone());
        if let Some(lead) = self.lead_notice() {
            self.send(node, PeerMessage::Lead(lead));
        }
    }

    /// Another region can be spoken to: what was asked into the void is asked again.
    fn connected(&mut self, peer: &Peer) {
        self.region_heard(peer);
        self.links_lost(peer);
    }

    fn lost(&mut self, peer: &Peer) {
        if let Peer::Node(node) = peer {
            self.nodes.lost(*node);
            if node.shard == self.me().shard {
                self.raft.report_unreachable(node.replica.0);
            }
        }
        self.gateway_lost(peer);
        self.links_lost(peer);
        self.tails_lost(peer);
    }

    fn peer_message(&mut self, from: NodeId, message: PeerMessage) {
        // Who speaks is there, whatever was heard of its coming: one that met us while it was nobody yet is met once only.
        self.nodes.heard(from);
        self.heard_of(from);
        match message {
            PeerMessage::Raft(bytes) => self.raft_message(from, &bytes),
            PeerMessage::Complete(statements) => self.statements_heard(from, statements),
            PeerMessage::Lead(lead) => {
                let me = self.me();
                for (node, address) in self.nodes.led_by(from, &lead) {
                    if node != me {
                        self.out.push(Command::Dial(node, address));
                    }
                }
            }
            PeerMessage::Disk(notice) => self.disk_notice(from, notice),
            PeerMessage::Call(call, body) => match body {
                Call::Shard(needs, body) => match self.refuses(needs) {
                    Some(why) => self.answer(Requester::Node(from, call), ShardAnswer::Unsupported(why)),
                    None => self.shard_call(Requester::Node(from, call), body),
                },
                Call::Tail(body) => self.tail_call(Requester::Node(from, call), body),
                Call::Chunk { snapshot, file, offset, len } => {
                    self.out.push(Command::ReadChunk { to: from, call, snapshot, file, offset, len });
                }
                Call::Snapshot { at_least } => self.snapshot_wanted(from, call, at_least),
                Call::Compare { at, hash } => self.compare_asked(from, call, at, hash),
                Call::Clock => self.clock_asked(from, call),
                Call::Unsupported(why) => {
                    self.send(from, PeerMessage::Answer(call, CallAnswer::Unsupported(why.to_string())));
                }
            },
            PeerMessage::Answer(call, answer) => match answer {
                CallAnswer::Shard(answer) => self.shard_answer(Some(from), call, answer),
                CallAnswer::Tail(answer) => self.relayed_tail(from, call, answer),
                CallAnswer::Chunk(bytes) => self.chunk(call, bytes),
                CallAnswer::Snapshot(manifest) => self.state_offered(from, manifest),
                CallAnswer::Compared(at, hash) => self.compared(from, at, hash),
                CallAnswer::Clock(wall) => self.clock_heard(from, call, wall),
                CallAnswer::Unsupported(why) => self.call_failed(from, call, ShardAnswer::Unsupported(why)),
                CallAnswer::Unknown => self.call_failed(from, call, ShardAnswer::Unknown),
            },
            PeerMessage::Cancel(call) => self.cancel_read(Requester::Node(from, call)),
        }
    }

    fn region_message(&mut self, from: Peer, message: RegionMessage) {
        self.region_heard(&from);
        match message {
            RegionMessage::Call(call, RegionCall::Ask(needs, request)) => match self.refuses(needs) {
                Some(why) => self.answer_region(from, call, RegionAnswer::Unsupported(why)),
                None => self.ask(crate::gateway::Asker::Region(from, call), request),
            },
            RegionMessage::Call(call, RegionCall::Tail(shard, body)) => self.region_tail_call(&from, call, shard, body),
            RegionMessage::Call(call, RegionCall::Unsupported(why)) => {
                self.answer_region(from, call, RegionAnswer::Unsupported(why.to_string()));
            }
            RegionMessage::Answer(call, RegionAnswer::Unsupported(why)) => {
                self.tail_answer(call, TailAnswer::Unavailable);
                self.region_call_failed(call, Some(why));
            }
            RegionMessage::Answer(call, RegionAnswer::Unknown) => {
                self.tail_answer(call, TailAnswer::Unavailable);
                self.region_call_failed(call, None);
            }
            RegionMessage::Answer(call, RegionAnswer::Reply(reply)) => self.region_reply(call, reply),
            RegionMessage::Answer(call, RegionAnswer::Tail(answer)) => self.tail_answer(call, answer),
            RegionMessage::Cancel(call) => self.asker_gone(&crate::gateway::Asker::Region(from, call)),
        }
    }

    /// Why a request that needs this behavior version is refused, if it is. Messages that need a version unknown to this build
    /// are refused when they are decoded; here a request is compared with what the group executes.
    fn refuses(&self, needs: BehaviorVersion) -> Option<String> {
        let executes = BehaviorVersion::NEWEST;
        (needs > executes).then(|| Unsupported::Version(needs).to_string())
    }

    /// A call to another replica failed there. Which part made it is told by its number; the others do not know the number.
    /// Snapshots, checksums and clocks are asked for again in time.
    fn call_failed(&mut self, from: NodeId, call: u64, answer: ShardAnswer) {
        self.shard_answer(Some(from), call, answer);
        self.relayed_tail(from, call, TailAnswer::Unavailable);
        self.chunk(call, None);
    }

    fn answer_region(&mut self, to: Peer, call: u64, answer: RegionAnswer) {
        self.out.push(Command::SendRegion(to, RegionMessage::Answer(call, answer)));
    }

    // --- what every part uses ---

    /// This replica among those of the region.
    #[must_use]
    pub fn me(&self) -> NodeId {
        NodeId { shard: self.identity.genesis.shard, replica: self.identity.replica }
    }

    /// What this replica is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How far clocks may differ.
    #[must_use]
    pub fn clock_bound(&self) -> Duration {
        self.settings.clock_bound
    }

    /// What other threads read.
    #[must_use]
    pub fn views(&self) -> Arc<Views> {
        self.state.views()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What this replica knows of itself and its group.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.replica_status()
    }

    /// Whether requests should come here: the state is loaded, this replica is a member, what was committed when it
    /// started is applied, and it is not stopping. Losing the leader later changes nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.out_of_service.is_none() && !self.is_in_doubt() && self.draining.is_none() && self.consensus.caught_up
    }

    /// See [`State::diverge`].
    #[cfg(feature = "fault-injection")]
    pub fn diverge(&mut self, payload: &meridian_model::Payload) {
        self.state.change().diverge(payload);
        self.state.publish();
    }

    /// How the origin shards are followed; empty unless this replica leads.
    #[must_use]
    pub fn chased(&self) -> Vec<crate::LinkStatus> {
        self.link_statuses()
    }

    pub(crate) fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.out.push(Command::Send(to, message));
    }

    pub(crate) fn send_replica(&mut self, to: ReplicaId, message: PeerMessage) {
        let shard = self.me().shard;
        self.send(NodeId { shard, replica: to }, message);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Whether this region takes writes.
    pub(crate) fn is_primary(&self) -> bool {
        *self.state.primary().1 == self.identity.genesis.region
    }

    /// This shard as an origin.
    pub(crate) fn own_origin(&self) -> OriginShard {
        OriginShard { region: self.identity.genesis.region.clone(), shard: self.me().shard }
    }
}

/// A state as this replica is to hold it.
pub(crate) fn prepared(settings: &Settings, mut state: State) -> State {
    state.checksum_every(settings.checksum_every);
    settings.inject_into_state(&mut state);
    state
}
