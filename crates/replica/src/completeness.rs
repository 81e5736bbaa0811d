//! Statements of completeness: a leader makes them, its replicas and other regions hear them.
//!
//! ```text
//!   leader: reads w ──► ReadIndex round, begun after that ──► applied up to the index ──► n ──► complete(origin, shard) = (n, w)
//! ```
//! In another order a delayed answer would let a successor acknowledge a write between n and w. A statement is sent, never
//! logged: it costs no fsync, and no later leader can make it false.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{
    Completeness, LogIndex, Moment, OriginShard, ReplicaId, ShardNumber, Statement, Term, WallMillis,
};
use meridian_proto::frame::{NodeId, PeerMessage};

use crate::Replica;
use crate::injection::InjectedBug;

/// Without a quorum's word in this time the round is begun anew: the library drops silently.
const ROUND_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Statements that did not change are told again this often, to replicas that came later or missed them.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is known of how complete this replica is.
#[derive(Debug, Default)]
pub(crate) struct Complete {
    held: Completeness,
    round: Option<Round>,
    last_round: Duration,
    told: BTreeMap<OriginShard, Statement>,
    last_told: Duration,
}

/// A statement under way.
#[derive(Debug)]
struct Round {
    context: u64,
    begun: Duration,
    wall: WallMillis,
    term: Term,
    /// The quorum's word: to be applied before the position is taken.
    index: Option<LogIndex>,
}

impl Replica {
    pub(crate) fn tick_completeness(&mut self) {
        self.finish_round();
        self.begin_round();
        self.tell_statements();
    }

    /// Reads the wall clock, then asks the quorum whether this replica leads.
    fn begin_round(&mut self) {
        let now = self.now.mono;
        let Some(term) = self.consensus.leading.filter(|_| self.may_state()) else {
            self.complete.round = None;
            return;
        };
        let waits =
            self.complete.round.as_ref().is_some_and(|round| now.saturating_sub(round.begun) < ROUND_AGAIN_AFTER);
        if waits || now.saturating_sub(self.complete.last_round) < self.settings.statement_interval {
            return;
        }
        let wall = self.now.wall_millis();
        let context = self.number();
        self.complete.round = None;
        if self.raft.read_index(context).is_ok() {
            let index = self.settings.injects(InjectedBug::StateUnproven).then_some(LogIndex(0));
            self.complete.last_round = now;
            self.complete.round = Some(Round { context, begun: now, wall, term, index });
        }
    }

    fn may_state(&self) -> bool {
        self.is_leading() && self.is_primary() && self.trusts_clock()
    }

    /// The quorum confirmed a read; says whether it was that of a statement.
    pub(crate) fn round_confirmed(&mut self, context: u64, index: LogIndex) -> bool {
        let Some(round) = self.complete.round.as_mut().filter(|round| round.context == context) else { return false };
        round.index = Some(index);
        self.finish_round();
        true
    }

    fn finish_round(&mut self) {
        let applied = self.state.applied();
        let proven = |round: &mut Round| round.index.is_some_and(|index| index <= applied);
        let Some(Round { wall, term, .. }) = self.complete.round.take_if(proven) else { return };
        if self.consensus.leading == Some(term) && self.may_state() {
            let own = self.own_origin();
            let through = self.state.position(&own);
            self.hear_statement(&own, Statement { through, term, wall }, Duration::ZERO);
            self.serve_tails();
        }
    }

    /// `at_least`: the age that whoever passed it on held.
    pub(crate) fn hear_statement(&mut self, origin: &OriginShard, statement: Statement, at_least: Duration) {
        let applied = if self.settings.injects(InjectedBug::CountUnapplied) {
            statement.through
        } else {
            self.state.position(origin)
        };
        let now = Moment { age: self.now.age, wall: self.now.wall };
        self.complete.held.hear(origin, statement, applied, now, self.settings.clock_bound, at_least);
    }

    /// From the leader of this shard, or one that was: what it states stays true.
    pub(crate) fn statements_heard(&mut self, from: NodeId, statements: Vec<(OriginShard, Statement, Duration)>) {
        if from.shard != self.me().shard {
            return;
        }
        for (origin, statement, age) in statements {
            self.hear_statement(&origin, statement, age);
        }
        self.serve_tails();
        self.recheck_reads();
    }

    /// The state moved on: statements that waited for it count.
    pub(crate) fn statements_applied(&mut self) {
        let positions: Vec<_> = self.state.vv().iter().map(|(origin, position)| (origin.clone(), position)).collect();
        for (origin, position) in positions {
            self.complete.held.applied(&origin, position);
        }
        self.finish_round();
    }

    /// A leader tells its replicas what counts here.
    fn tell_statements(&mut self) {
        let now = self.now.mono;
        if !self.is_leading() {
            self.complete.told.clear();
            return;
        }
        let held: Vec<(OriginShard, Statement, Duration)> = self
            .complete
            .held
            .statements(self.now.age)
            .map(|(origin, said, age)| (origin.clone(), said, age))
            .collect();
        let counting: BTreeMap<OriginShard, Statement> =
            held.iter().map(|(origin, statement, _)| (origin.clone(), *statement)).collect();
        let again = now.saturating_sub(self.complete.last_told) >= TELL_AGAIN_AFTER;
        if counting.is_empty() || (counting == self.complete.told && !again) {
            return;
        }
        let news: Vec<(OriginShard, Statement, Duration)> = (held.into_iter())
            .filter(|(origin, statement, _)| again || self.complete.told.get(origin) != Some(statement))
            .collect();
        if again {
            self.complete.last_told = now;
        }
        self.complete.told = counting;
        let (members, own) = (self.raft.members(), self.me().replica);
        let replicas: Vec<u64> = members.voters.iter().chain(&members.learners).copied().collect();
        for replica in replicas.into_iter().map(ReplicaId).filter(|replica| *replica != own) {
            self.send_replica(replica, PeerMessage::Complete(news.clone()));
        }
    }

    /// The statement on `origin` that counts here.
    pub(crate) fn statement(&self, origin: &OriginShard) -> Option<Statement> {
        self.complete.held.statement(origin)
    }

    /// Upper bound of the age of what is missing here of one origin shard; [`Duration::MAX`] when unknown.
    #[must_use]
    pub fn staleness_of(&self, origin: &OriginShard) -> Duration {
        self.staleness_of_all(std::slice::from_ref(origin))
    }

    /// Upper bound of the age of what is missing here of all that may be written: towards its own region a replica of the
    /// primary region is as complete as its own shard.
    pub(crate) fn staleness(&self) -> Duration {
        if self.is_primary() {
            return self.staleness_of(&self.own_origin());
        }
        let region = self.state.primary().1;
        let Some(shards) = self.state.origin_shards(region) else { return Duration::MAX };
        let origins: Vec<OriginShard> =
            ShardNumber::all(shards).map(|shard| OriginShard { region: region.clone(), shard }).collect();
        self.staleness_of_all(&origins)
    }

    fn staleness_of_all(&self, origins: &[OriginShard]) -> Duration {
        if !self.trusts_clock() {
            return Duration::MAX;
        }
        if self.settings.injects(InjectedBug::AgeByWall) {
            let age = |origin: &OriginShard| match self.complete.held.statement(origin) {
                Some(Statement { wall, .. }) => self.now.wall.saturating_sub(Duration::from_millis(wall.0)),
                None => Duration::MAX,
            };
            let oldest = origins.iter().map(age).max().unwrap_or(Duration::ZERO);
            return oldest.saturating_add(self.settings.clock_bound);
        }
        self.complete.held.staleness(origins, self.now.age)
    }
}
