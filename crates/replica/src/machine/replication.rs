//! Connects follower and server of `meridian-replication` to the machine.

use std::time::Duration;

use meridian_gateway::Directory;
use meridian_model::{LogIndex, ShardNumber};
use meridian_proto::frame::NodeId;
use meridian_raft::Raft;
use meridian_replication::Effect;
use meridian_replication::follower::{self, Propose};
use meridian_replication::server::{self, Log};
use meridian_shard::{Entry, State};

use super::Replica;
use crate::context::Ctx;
#[cfg(feature = "fault-injection")]
use crate::injection::InjectedBug;
use crate::proposal::propose;
use crate::{Command, Settings, completeness};

/// Log of this replica's group.
struct GroupLog<'a> {
    raft: &'a mut Raft,
    state: &'a State,
    settings: &'a Settings,
}

impl Propose for GroupLog<'_> {
    fn propose(&mut self, entry: &Entry) -> bool {
        propose(self.raft, self.state, self.settings, entry).is_ok()
    }
}

impl Log for GroupLog<'_> {
    fn first_index(&self) -> LogIndex {
        LogIndex(self.raft.first_index())
    }

    fn entry(&self, index: LogIndex) -> Option<Entry> {
        let entries = self.raft.entries(index.0, 1).ok()?;
        crate::log_entry::decode(entries.first()?).ok()
    }
}

impl Replica {
    /// Passes an event to the follower and performs its effects.
    pub(super) fn follow(&mut self, event: follower::Event<'_>) {
        let mut effects = std::mem::take(&mut self.replication_effects);
        let admits_growth = !self.follower.is_idle() && self.admits_growth();
        let mut cx = follower::Ctx {
            now: self.now.mono,
            shard: self.identity.genesis.shard,
            state: &self.state,
            log: &mut GroupLog { raft: &mut self.raft, state: &self.state, settings: &self.settings },
            admits_growth,
            numbers: &mut self.numbers,
            counters: &mut self.counters.links,
            effects: &mut effects,
            #[cfg(feature = "fault-injection")]
            accept_gap: self.settings.injects(InjectedBug::AcceptGap),
        };
        self.follower.handle(&mut cx, event);
        effects.drain(..).for_each(|effect| self.perform_replication(effect));
        self.replication_effects = effects;
    }

    /// Passes an event to the delta log server and performs its effects.
    pub(super) fn serve(&mut self, event: server::Event<'_>) {
        let mut effects = std::mem::take(&mut self.replication_effects);
        let is_trusted = self.is_trusted() && self.consensus.is_caught_up();
        let is_leading = self.is_leading();
        let (me, directory) = (self.identity.node(), &self.directory);
        let mut cx = server::Ctx {
            now: self.now.mono,
            me,
            shards: self.identity.genesis.shards,
            state: &self.state,
            log: &GroupLog { raft: &mut self.raft, state: &self.state, settings: &self.settings },
            is_trusted,
            is_leading,
            statement: self.statements.statement(self.state.origin()),
            seed_page_bytes: self.settings.seed_page_bytes,
            candidates: &|shard| candidates(directory, me, shard),
            numbers: &mut self.numbers,
            effects: &mut effects,
        };
        self.server.handle(&mut cx, event);
        effects.drain(..).for_each(|effect| self.perform_replication(effect));
        self.replication_effects = effects;
    }

    /// The state advanced or a statement was received: serves the readers of the own delta log.
    pub(super) fn serve_news(&mut self) {
        if !self.server.serves_nobody() {
            self.serve(server::Event::StateMoved);
        }
    }

    fn perform_replication(&mut self, effect: Effect) {
        match effect {
            Effect::Send(node, message) => self.out.push(Command::Send(node, message)),
            Effect::SendRegion(peer, message) => self.out.push(Command::SendRegion(peer, message)),
            Effect::Follow { call, origin, topic, after, credit } => {
                self.out.push(Command::Follow { call, origin, topic, after, credit });
            }
            Effect::FollowCredit { call, bytes } => self.out.push(Command::FollowCredit { call, bytes }),
            Effect::Unfollow { call } => self.out.push(Command::Unfollow { call }),
            Effect::Poisoned { origin, poison } => self.out.push(Command::Poisoned { origin, poison }),
            Effect::Statement { origin, statement } => {
                let at_least = Duration::ZERO;
                part!(self, statements, completeness::Event::Heard { origin, statement, at_least });
            }
            Effect::RecheckReads => self.recheck_reads(),
        }
    }
}

/// The reachable replicas of a shard in the order in which their delta log is tried. The leader is first: it applies
/// commits first.
fn candidates(directory: &Directory, me: NodeId, shard: ShardNumber) -> Vec<NodeId> {
    let own = (shard == me.shard).then_some(me);
    let replicas = directory.leader(shard).into_iter().chain(directory.of_shard(shard)).chain(own);
    replicas.filter(|node| *node == me || directory.is_connected(*node)).collect()
}
