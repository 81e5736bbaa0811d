//! Statements of completeness: a leader makes them, its replicas and other regions receive them.
//!
//! ```text
//!   leader: reads w ──► ReadIndex round, begun after that ──► applied up to the index ──► n ──► complete(origin, shard) = (n, w)
//! ```
//! In another order, a delayed answer would let a successor acknowledge a write between n and w. A statement is sent
//! and not logged: it costs no fsync, and no later leader can make it false.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{Completeness, LogIndex, Moment, OriginShard, ReplicaId, Statement, Term, WallMillis};
use meridian_proto::frame::{NodeId, PeerMessage};

use crate::Settings;
use crate::context::Ctx;
use crate::effect::Effect;
use crate::injection::InjectedBug;
use crate::time::Time;

/// Time without confirmation by a quorum after which a round is restarted: raft-rs drops requests silently.
const ROUND_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Interval at which unchanged statements are sent again, for replicas that joined later or missed them.
const RESEND_AFTER: Duration = Duration::from_secs(1);

/// Completeness of this replica, as far as known.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    held: Completeness,
    round: Option<Round>,
    last_round: Duration,
    sent: BTreeMap<OriginShard, Statement>,
    last_sent: Duration,
}

/// A statement in preparation.
#[derive(Debug)]
struct Round {
    context: u64,
    begun: Duration,
    wall: WallMillis,
    term: Term,
    /// The index confirmed by a quorum, which must be applied before the position is taken.
    index: Option<LogIndex>,
}

/// Events about statements.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time has passed.
    Tick { clock_trusted: bool },
    /// A quorum confirmed the round: this index must be applied before the position is taken.
    Confirmed { index: LogIndex, clock_trusted: bool },
    /// A statement of the origin, directly or through a broker. `at_least`: its age at the sender.
    Heard { origin: OriginShard, statement: Statement, at_least: Duration },
    /// A current or former leader of this shard sent its statements, which stay true.
    Told { from: NodeId, statements: Vec<(OriginShard, Statement, Duration)> },
    /// Entries were applied: statements that waited for them count.
    Applied { clock_trusted: bool },
}

impl Statements {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Tick { clock_trusted } => {
                self.finish_round(cx, clock_trusted);
                self.begin_round(cx, clock_trusted);
                self.send_statements(cx);
            }
            Event::Confirmed { index, clock_trusted } => {
                if let Some(round) = &mut self.round {
                    round.index = Some(index);
                    self.finish_round(cx, clock_trusted);
                }
            }
            Event::Heard { origin, statement, at_least } => self.hear(cx, &origin, statement, at_least),
            Event::Told { from, statements } => self.hear_leader(cx, from, statements),
            Event::Applied { clock_trusted } => self.applied(cx, clock_trusted),
        }
    }

    /// Returns true if this is the ReadIndex context of the current round.
    pub(crate) fn is_round(&self, context: u64) -> bool {
        self.round.as_ref().is_some_and(|round| round.context == context)
    }

    /// Returns true if time has no effect while this replica does not lead.
    pub(crate) fn is_idle(&self) -> bool {
        self.round.is_none() && self.sent.is_empty()
    }

    /// Returns true if a round is in progress.
    pub(crate) fn has_round(&self) -> bool {
        self.round.is_some()
    }

    /// Reads the wall clock, then starts a ReadIndex round.
    fn begin_round(&mut self, cx: &mut Ctx<'_>, clock_trusted: bool) {
        let now = cx.now.mono;
        let Some(term) = cx.facts.term.filter(|_| may_state(cx, clock_trusted)) else {
            self.round = None;
            return;
        };
        let waits = self.round.as_ref().is_some_and(|round| now.saturating_sub(round.begun) < ROUND_AGAIN_AFTER);
        if waits || now.saturating_sub(self.last_round) < cx.settings.statement_interval {
            return;
        }
        let wall = cx.now.wall_millis();
        let context = cx.numbers.allocate();
        self.round = None;
        if cx.raft.read_index(context).is_ok() {
            let index = cx.settings.injects(InjectedBug::StateUnproven).then_some(LogIndex(0));
            self.last_round = now;
            self.round = Some(Round { context, begun: now, wall, term, index });
        }
    }

    fn finish_round(&mut self, cx: &mut Ctx<'_>, clock_trusted: bool) {
        let applied = cx.state.applied();
        let proven = |round: &mut Round| round.index.is_some_and(|index| index <= applied);
        let Some(Round { wall, term, .. }) = self.round.take_if(proven) else { return };
        if cx.facts.term == Some(term) && may_state(cx, clock_trusted) {
            let own = cx.state.origin().clone();
            let through = cx.state.position(&own);
            self.hear(cx, &own, Statement { through, term, wall }, Duration::ZERO);
            cx.effects.push(Effect::ServeTails);
        }
    }

    fn hear(&mut self, cx: &Ctx<'_>, origin: &OriginShard, statement: Statement, at_least: Duration) {
        let applied = if cx.settings.injects(InjectedBug::CountUnapplied) {
            statement.through
        } else {
            cx.state.position(origin)
        };
        let now = Moment { age: cx.now.age, wall: cx.now.wall };
        self.held.hear(origin, statement, applied, now, cx.settings.clock_bound, at_least);
    }

    fn hear_leader(&mut self, cx: &mut Ctx<'_>, from: NodeId, statements: Vec<(OriginShard, Statement, Duration)>) {
        if from.shard != cx.me().shard {
            return;
        }
        for (origin, statement, age) in statements {
            self.hear(cx, &origin, statement, age);
        }
        cx.effects.extend([Effect::ServeTails, Effect::RecheckReads]);
    }

    fn applied(&mut self, cx: &mut Ctx<'_>, clock_trusted: bool) {
        for (origin, position) in cx.state.vv().iter() {
            self.held.applied(origin, position);
        }
        self.finish_round(cx, clock_trusted);
    }

    /// As leader, sends the counting statements to the replicas.
    fn send_statements(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        if !cx.facts.leading {
            self.sent.clear();
            return;
        }
        let held: Vec<(OriginShard, Statement, Duration)> =
            self.held.statements(cx.now.age).map(|(origin, said, age)| (origin.clone(), said, age)).collect();
        let counting: BTreeMap<OriginShard, Statement> =
            held.iter().map(|(origin, statement, _)| (origin.clone(), *statement)).collect();
        let again = now.saturating_sub(self.last_sent) >= RESEND_AFTER;
        if counting.is_empty() || (counting == self.sent && !again) {
            return;
        }
        let news: Vec<(OriginShard, Statement, Duration)> = (held.into_iter())
            .filter(|(origin, statement, _)| again || self.sent.get(origin) != Some(statement))
            .collect();
        if again {
            self.last_sent = now;
        }
        self.sent = counting;
        let (members, own) = (cx.raft.members(), cx.me().replica);
        let replicas: Vec<u64> = members.voters.iter().chain(&members.learners).copied().collect();
        for replica in replicas.into_iter().map(ReplicaId).filter(|replica| *replica != own) {
            cx.send_replica(replica, PeerMessage::Complete(news.clone()));
        }
    }

    /// The counting statement of `origin`.
    pub(crate) fn statement(&self, origin: &OriginShard) -> Option<Statement> {
        self.held.statement(origin)
    }

    /// Upper bound of the age of changes of these origin shards that are missing here, by a trusted wall clock.
    pub(crate) fn staleness(&self, origins: &[OriginShard], now: Time, settings: &Settings) -> Duration {
        if settings.injects(InjectedBug::AgeByWall) {
            let age = |origin: &OriginShard| match self.held.statement(origin) {
                Some(Statement { wall, .. }) => now.wall.saturating_sub(Duration::from_millis(wall.0)),
                None => Duration::MAX,
            };
            let oldest = origins.iter().map(age).max().unwrap_or(Duration::ZERO);
            return oldest.saturating_add(settings.clock_bound);
        }
        self.held.staleness(origins, now.age)
    }
}

fn may_state(cx: &Ctx<'_>, clock_trusted: bool) -> bool {
    cx.facts.leading && cx.state.is_primary() && clock_trusted
}

#[cfg(test)]
mod tests;
