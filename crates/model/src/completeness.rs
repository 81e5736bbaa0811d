//! How stale an answer may be: statements of completeness, and how they age.
//!
//! ```text
//!   leader of an origin shard: reads w, proves its leadership, applies, takes n ──► complete(origin, shard) = (n, w)
//!   replica: hears it ──► waits until n is applied ──► it counts: age = max(0, now - w) + clock bound, and grows from there
//! ```
//! A statement is a fact about the past that no later leader can falsify: every write that was acknowledged before the
//! leader's wall time `w` stands at or before position `n`. The wall clock is read once, when a statement arrives; from then
//! on its age grows by a clock that nobody sets.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Epoch, OriginShard, Position, Seq, Term, WallMillis};

/// Statements of one origin shard that wait until their position is applied. When they are full the newest is replaced:
/// under steady writes the newest position is never applied yet, so the older ones must stay.
const WAITING: usize = 64;

/// Every write that an origin shard acknowledged before `wall` has a position up to `through`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The newest position of the origin shard.
    pub through: Position,
    /// Raft term of the leader that states it.
    pub term: Term,
    /// By the wall clock of that leader.
    pub wall: WallMillis,
}

impl Statement {
    /// Of two statements whose positions are applied, the larger counts; of equal ones, the one that arrived later. Not the
    /// one with the larger `wall`: a leader whose clock was ahead must not be believed for as long as it was.
    fn rank(&self) -> (Epoch, Term, Seq) {
        (self.through.epoch, self.term, self.through.seq)
    }
}

/// A statement that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    statement: Statement,
    /// When it arrived, clock bound included.
    age: Duration,
    /// By the clock of ages.
    arrived: Duration,
}

impl Heard {
    fn age_at(&self, now: Duration) -> Duration {
        self.age.saturating_add(now.saturating_sub(self.arrived))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Origin {
    counts: Option<Heard>,
    waiting: VecDeque<Heard>,
}

impl Origin {
    fn consider(&mut self, heard: Heard) {
        if self.counts.is_none_or(|counts| heard.statement.rank() >= counts.statement.rank()) {
            self.counts = Some(heard);
        }
    }

    fn knows(&self, statement: &Statement) -> bool {
        self.counts.iter().chain(&self.waiting).any(|heard| heard.statement == *statement)
    }
}

/// A reading of the two clocks that ages are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The clock of ages: it never goes back, and it also advances by whatever the wall clock turns out to have been behind.
    pub age: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
}

/// What one replica was told about how complete each origin shard is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completeness(BTreeMap<OriginShard, Origin>);

impl Completeness {
    /// Takes in a statement on `origin`, of which `applied` is applied here. `bound`: how far clocks may differ.
    /// `at_least`: the age that whoever passed it on held; a statement may be told long after it was made, and the clocks
    /// may have stepped back since.
    ///
    /// A statement that is known already keeps the age that it has. One from further ahead than clocks may differ proves
    /// that some do: then nothing is known of the origin until the next statement.
    pub fn hear(
        &mut self,
        origin: &OriginShard,
        statement: Statement,
        applied: Position,
        now: Moment,
        bound: Duration,
        at_least: Duration,
    ) {
        let stated = Duration::from_millis(statement.wall.0);
        if stated > now.wall.saturating_add(bound) {
            self.0.remove(origin);
            return;
        }
        let held = self.0.entry(origin.clone()).or_default();
        if held.knows(&statement) {
            return;
        }
        let age = now.wall.saturating_sub(stated).saturating_add(bound).max(at_least);
        let heard = Heard { statement, age, arrived: now.age };
        if statement.through <= applied {
            held.consider(heard);
        } else {
            if held.waiting.len() == WAITING {
                held.waiting.pop_back();
            }
            held.waiting.push_back(heard);
        }
    }

    /// `origin` is applied up to `position` here: statements that waited for it count.
    pub fn applied(&mut self, origin: &OriginShard, position: Position) {
        let Some(held) = self.0.get_mut(origin) else { return };
        let waiting = std::mem::take(&mut held.waiting);
        for heard in waiting {
            if heard.statement.through <= position { held.consider(heard) } else { held.waiting.push_back(heard) }
        }
    }

    /// The statement on `origin` that counts.
    #[must_use]
    pub fn statement(&self, origin: &OriginShard) -> Option<Statement> {
        Some(self.0.get(origin)?.counts?.statement)
    }

    /// All statements that count, each with its age at `now`.
    pub fn statements(&self, now: Duration) -> impl Iterator<Item = (&OriginShard, Statement, Duration)> {
        self.0.iter().filter_map(move |(origin, held)| Some((origin, held.counts?.statement, held.counts?.age_at(now))))
    }

    /// Upper bound of the age of what may be missing here of `origins`: the largest age of the statements that count, so
    /// silence makes stale. [`Duration::MAX`] while nothing counts for one of them.
    #[must_use]
    pub fn staleness<'a>(&self, origins: impl IntoIterator<Item = &'a OriginShard>, now: Duration) -> Duration {
        let age = |origin: &OriginShard| {
            let counts = self.0.get(origin).and_then(|held| held.counts);
            counts.map_or(Duration::MAX, |heard| heard.age_at(now))
        };
        origins.into_iter().map(age).max().unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
