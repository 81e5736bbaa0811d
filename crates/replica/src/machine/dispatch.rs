//! Routes each event to its part.

use meridian_gateway::{Caller, Event as GatewayEvent};
use meridian_model::ShardNumber;
use meridian_proto::frame::{
    Call, CallAnswer, NodeId, PeerMessage, RegionAnswer, RegionCall, RegionMessage, ShardAnswer, TailAnswer,
};
use meridian_proto::topology::{PodStatus, TopologyAnswer, TopologyCall};
use meridian_replication::{follower, server};

use super::Replica;
use crate::context::Ctx;
use crate::effect::Requester;
use crate::{
    Command, Event, Peer, clock, collections, completeness, consensus, divergence, drain, membership, reads, snapshots,
    space, versions,
};

impl Replica {
    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Tick { random } => self.tick(random),
            Event::Client { ticket, request } => {
                self.route(GatewayEvent::Request { caller: Caller::Ticket(ticket), request })
            }
            Event::Gone { ticket } => self.route(GatewayEvent::CallerGone(Caller::Ticket(ticket))),
            Event::Met(hello) => self.met(&hello),
            Event::Connected(peer) => self.connected(&peer),
            Event::Lost(peer) => self.lost(&peer),
            Event::Heard(peer) => self.region_heard(&peer),
            Event::Peer(from, message) => self.peer_message(from, message),
            Event::Region(from, message) => self.region_message(from, message),
            Event::Topology { ticket, call: TopologyCall::Status } => {
                let pod = PodStatus::Running(Box::new(self.replica_status()));
                let answer = TopologyAnswer::status(pod);
                self.out.push(Command::TopologyReply { ticket, answer });
            }
            Event::Topology { ticket, call } => self.topology_call(ticket, call),
            Event::Persisted { number, first } => part!(self, consensus, consensus::Event::Persisted { number, first }),
            Event::ReadDone { job, result } => part!(self, reads, reads::Event::Done { job, result }),
            Event::ReadRefused { job, why } => part!(self, reads, reads::Event::Refused { job, why }),
            Event::SnapshotTaken { id, manifest } => part!(self, snapshots, snapshots::Event::Taken { id, manifest }),
            Event::ChunkRead { to, call, bytes } => {
                self.out.push(Command::Send(to, PeerMessage::Answer(call, CallAnswer::Chunk(bytes))));
            }
            Event::InstallWants { file, offset, len } => {
                part!(self, snapshots, snapshots::Event::InstallWants { file, offset, len });
            }
            Event::Installed { meta, state } => part!(self, snapshots, snapshots::Event::Installed { meta, state }),
            Event::InstallFailed(_) => part!(self, snapshots, snapshots::Event::InstallFailed),
            Event::Records { call, records, origin_shards } => {
                if self.is_leading() {
                    self.follow(follower::Event::Records { call, records, origin_shards });
                }
            }
            Event::Poison { call, poison } => self.follow(follower::Event::Poison { call, poison }),
            Event::FreeBytes(free) => part!(self, space, space::Event::Measured { free }),
            Event::MemoryUsed { bytes, limit } => self.memory_used(bytes, limit),
            Event::Drain => part!(self, drain, drain::Event::Drain),
            Event::Finish { within } => part!(self, drain, drain::Event::Finish { within }),
        }
    }

    fn topology_call(&mut self, ticket: u64, call: TopologyCall) {
        match call {
            TopologyCall::Finalize { version } => part!(self, versions, versions::Event::Finalize { ticket, version }),
            TopologyCall::Publish { version } => part!(self, versions, versions::Event::Publish { ticket, version }),
            call => match self.learner_refusal(&call) {
                Some(why) => {
                    let answer = TopologyAnswer::Refused(why);
                    self.out.push(Command::TopologyReply { ticket, answer });
                }
                None => part!(self, membership, membership::Event::Call { ticket, call }),
            },
        }
    }

    /// Returns the reason why a replica must not be added at the group's behavior version, if any.
    fn learner_refusal(&self, call: &TopologyCall) -> Option<String> {
        let TopologyCall::AddLearner { member, .. } = call else { return None };
        let is_new = self.is_leading() && !self.raft.members().contains(member.replica.0);
        is_new.then(|| self.versions.learner_refusal(self.state.behavior(), member.replica)).flatten()
    }

    pub(super) fn tick(&mut self, random: u64) {
        self.raft.tick(random);
        if self.is_leading() || !self.consensus.is_caught_up() {
            part!(self, consensus, consensus::Event::Tick);
        }
        if self.is_leading() && self.identity.genesis.shard != ShardNumber::FIRST {
            let decider = self.directory.leader(ShardNumber::FIRST);
            part!(self, collections, collections::Event::Tick { decider });
        }
        part!(self, clock, clock::Event::Tick);
        if self.is_leading() || !self.statements.is_idle() {
            let clock_trusted = self.states() && self.clock.is_trusted();
            part!(self, statements, completeness::Event::Tick { clock_trusted });
        }
        if !self.reads.is_idle() {
            let staleness = self.staleness();
            part!(self, reads, reads::Event::Tick { staleness });
        }
        self.recheck_parked();
        if !self.gateway.is_idle() {
            self.route(GatewayEvent::Tick);
        }
        if self.is_leading() && !self.follower.is_idle() {
            self.follow(follower::Event::Tick);
        }
        if !self.server.is_idle() {
            self.serve(server::Event::Tick);
        }
        part!(self, space, space::Event::Tick);
        if self.snapshots.has_work(self.state.applied()) || self.raft.snapshot_wanted() {
            part!(self, snapshots, snapshots::Event::Tick);
        }
        if self.divergence.is_checking() || self.is_leading() {
            part!(self, divergence, divergence::Event::Tick);
        }
        if !self.membership.is_idle() {
            part!(self, membership, membership::Event::Tick);
        }
        if !self.versions.is_idle(self.state.published()) {
            part!(self, versions, versions::Event::Tick);
        }
        if self.drain.is_draining() {
            part!(self, drain, drain::Event::Tick);
        }
    }

    pub(super) fn met(&mut self, hello: &meridian_proto::frame::Hello) {
        let Some(node) = hello.node else { return };
        if node == self.identity.node() || hello.cluster != self.identity.genesis.cluster {
            return;
        }
        self.directory.met(node, hello.address.clone());
        if node.shard == self.identity.genesis.shard {
            let (replica, build) = (node.replica, hello.build.clone());
            part!(self, versions, versions::Event::Met { replica, build });
        }
        if let Some(lead) = self.lead_notice() {
            self.out.push(Command::Send(node, PeerMessage::Lead(lead)));
        }
    }

    /// Another region connected: calls without a connection are sent again.
    pub(super) fn connected(&mut self, peer: &Peer) {
        self.region_heard(peer);
        self.follow(follower::Event::Lost(peer));
        if let Peer::Region(region) = peer {
            part!(self, versions, versions::Event::RegionConnected(region.clone()));
        }
    }

    pub(super) fn lost(&mut self, peer: &Peer) {
        if let Peer::Node(node) = peer {
            self.directory.lost(*node);
            if node.shard == self.identity.genesis.shard {
                self.raft.report_unreachable(node.replica.0);
                part!(self, versions, versions::Event::Lost(node.replica));
            }
        }
        self.route(GatewayEvent::Lost(peer.clone()));
        self.follow(follower::Event::Lost(peer));
        if !self.server.is_idle() {
            self.serve(server::Event::Lost(peer));
        }
    }

    pub(super) fn peer_message(&mut self, from: NodeId, message: PeerMessage) {
        // Any message proves that its sender is connected, even if its `Met` event preceded its membership.
        self.directory.heard(from);
        if from.shard == self.identity.genesis.shard {
            self.space.heard(from.replica, self.now.mono);
        }
        match message {
            PeerMessage::Raft(bytes) => {
                let drops_appends = self.space.drops_appends_of(&self.raft, from);
                part!(self, consensus, consensus::Event::Message { from, bytes, drops_appends });
            }
            PeerMessage::Complete(statements) => {
                part!(self, statements, completeness::Event::Told { from, statements });
            }
            PeerMessage::Lead(lead) => {
                let me = self.identity.node();
                for (node, address) in self.directory.led_by(from, &lead) {
                    if node != me {
                        self.out.push(Command::Dial(node, address));
                    }
                }
            }
            PeerMessage::Disk(notice) => part!(self, space, space::Event::Notice { from, notice }),
            PeerMessage::Call(call, body) => match body {
                Call::Shard(needs, body) => self.versioned_call(Requester::Node(from, call), needs, body),
                Call::Tail(body) => self.serve(server::Event::NodeCall { from, call, body }),
                Call::Chunk { snapshot, file, offset, len } => {
                    self.out.push(Command::ReadChunk { to: from, call, snapshot, file, offset, len });
                }
                Call::Snapshot { at_least } => {
                    part!(self, snapshots, snapshots::Event::Wanted { from, call, at_least });
                }
                Call::Compare { at, hash } => {
                    part!(self, divergence, divergence::Event::CompareAsked { from, call, at, hash });
                }
                Call::Clock => part!(self, clock, clock::Event::Asked { from, call }),
                Call::Unsupported(why) => {
                    let answer = CallAnswer::Unsupported(why.to_string());
                    self.out.push(Command::Send(from, PeerMessage::Answer(call, answer)));
                }
            },
            PeerMessage::Answer(call, answer) => match answer {
                CallAnswer::Shard(answer) => self.answered(Some(from), call, answer),
                CallAnswer::Tail(answer) => self.serve(server::Event::Relayed { from, call, answer }),
                CallAnswer::Chunk(bytes) => part!(self, snapshots, snapshots::Event::Chunk { call, bytes }),
                CallAnswer::Snapshot(manifest) => {
                    part!(self, divergence, divergence::Event::StateOffered { from, manifest });
                }
                CallAnswer::Compared(at, hash) => {
                    part!(self, divergence, divergence::Event::Compared { from, at, hash });
                }
                CallAnswer::Clock(wall) => part!(self, clock, clock::Event::Heard { from, call, wall }),
                CallAnswer::Unsupported(why) => self.call_failed(from, call, ShardAnswer::Unsupported(why)),
                CallAnswer::Unknown => self.call_failed(from, call, ShardAnswer::Unknown),
            },
            PeerMessage::Cancel(call) => self.cancel_read(Requester::Node(from, call)),
        }
    }

    pub(super) fn region_message(&mut self, from: Peer, message: RegionMessage) {
        self.region_heard(&from);
        match message {
            RegionMessage::Call(call, RegionCall::Ask(needs, request)) => match self.group_versions().refuse(needs) {
                Some(why) => self.answer_region(from, call, RegionAnswer::Unsupported(why)),
                None => self.route(GatewayEvent::Request { caller: Caller::Region(from, call), request }),
            },
            RegionMessage::Call(call, RegionCall::Tail(shard, body)) => {
                self.serve(server::Event::RegionCall { from: &from, call, shard, body });
            }
            RegionMessage::Call(call, RegionCall::Behavior) => {
                self.answer_region(from, call, RegionAnswer::Behavior(self.behavior_of_region()));
            }
            RegionMessage::Call(call, RegionCall::Unsupported(why)) => {
                self.answer_region(from, call, RegionAnswer::Unsupported(why.to_string()));
            }
            RegionMessage::Answer(call, RegionAnswer::Unsupported(why)) => {
                self.follow(follower::Event::Answer { call, answer: TailAnswer::Unavailable });
                self.route(GatewayEvent::RegionCallFailed { call, unsupported: Some(why) });
            }
            RegionMessage::Answer(call, RegionAnswer::Behavior(finalized)) => {
                part!(self, versions, versions::Event::RegionReported { call, finalized });
            }
            RegionMessage::Answer(call, RegionAnswer::Unknown) => {
                self.follow(follower::Event::Answer { call, answer: TailAnswer::Unavailable });
                self.route(GatewayEvent::RegionCallFailed { call, unsupported: None });
            }
            RegionMessage::Answer(call, RegionAnswer::Reply(reply)) => {
                self.route(GatewayEvent::RegionReply { call, reply });
            }
            RegionMessage::Answer(call, RegionAnswer::Tail(answer)) => {
                self.follow(follower::Event::Answer { call, answer });
            }
            RegionMessage::Cancel(call) => self.route(GatewayEvent::CallerGone(Caller::Region(from, call))),
        }
    }

    /// A call to another replica failed there. Its number identifies the calling part; other parts ignore it.
    /// Snapshots, checksums and clocks retry by themselves.
    fn call_failed(&mut self, from: NodeId, call: u64, answer: ShardAnswer) {
        self.answered(Some(from), call, answer);
        self.serve(server::Event::Relayed { from, call, answer: TailAnswer::Unavailable });
        part!(self, snapshots, snapshots::Event::Chunk { call, bytes: None });
    }

    fn answer_region(&mut self, to: Peer, call: u64, answer: RegionAnswer) {
        self.out.push(Command::SendRegion(to, RegionMessage::Answer(call, answer)));
    }
}
