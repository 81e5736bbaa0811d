//! What was written, what was acknowledged, and what must therefore stand.
//!
//! Every write of a point carries a counter that grows by one. A write whose outcome is unknown (the connection broke, or the
//! region says that some shard did not answer) closes the point: nobody writes it again, so that reading it at the end tells
//! whether the write took place. So the number of distinct operations that were committed is known exactly.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One write of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Grows by one for each write of the point.
    pub counter: u64,
    /// A delete; else an upsert whose payload carries the counter.
    pub delete: bool,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Acknowledged,
    /// It certainly did not take place.
    Refused,
    /// It may have taken place, or may yet.
    Unknown,
}

#[derive(Debug, Default)]
struct Point {
    acknowledged: Vec<Op>,
    unknown: Option<Op>,
    /// A write is under way.
    busy: bool,
}

/// All writes of a run.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<u64, Point>>);

/// What the audit found in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// Acknowledged writes that neither stand nor were overtaken.
    pub lost: usize,
    /// Writes of unknown outcome that stand.
    pub resolved: usize,
}

impl Ledger {
    fn points(&self) -> MutexGuard<'_, BTreeMap<u64, Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a write of `point`. `None` when the point is closed, being written, or is to be deleted and does not stand.
    pub fn begin(&self, point: u64, delete: bool) -> Option<Op> {
        let mut points = self.points();
        let history = points.entry(point).or_default();
        let stands = history.acknowledged.last().is_some_and(|last| !last.delete);
        if history.busy || history.unknown.is_some() || (delete && !stands) {
            return None;
        }
        history.busy = true;
        Some(Op { counter: history.acknowledged.last().map_or(0, |last| last.counter) + 1, delete })
    }

    /// Ends what [`Ledger::begin`] began.
    pub fn end(&self, point: u64, op: Op, outcome: Outcome) {
        let mut points = self.points();
        let history = points.entry(point).or_default();
        history.busy = false;
        match outcome {
            Outcome::Acknowledged => history.acknowledged.push(op),
            Outcome::Unknown => history.unknown = Some(op),
            Outcome::Refused => {}
        }
    }

    /// All points that were ever written.
    pub fn written(&self) -> Vec<u64> {
        self.points().keys().copied().collect()
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.points().values().map(|point| point.acknowledged.len()).sum()
    }

    /// How many have an unknown outcome.
    pub fn unknown(&self) -> usize {
        self.points().values().filter(|point| point.unknown.is_some()).count()
    }

    /// Compares with what a region holds: the counter of each point that stands.
    pub fn audit(&self, held: &BTreeMap<u64, u64>) -> Findings {
        let mut findings = Findings::default();
        for (id, point) in self.points().iter() {
            let (lost, resolved) = point.audit(held.get(id).copied());
            findings.lost += lost;
            findings.resolved += usize::from(resolved);
        }
        findings
    }
}

impl Point {
    /// How many acknowledged writes are lost, and whether the unknown one stands.
    fn audit(&self, held: Option<u64>) -> (usize, bool) {
        let last = self.acknowledged.last();
        if let Some(unknown) = self.unknown {
            // A point to be deleted stood before: that it is gone is the delete's doing.
            let stands = if unknown.delete { held.is_none() } else { held == Some(unknown.counter) };
            if stands {
                return (0, true);
            }
        }
        let expected = last.filter(|last| !last.delete).map(|last| last.counter);
        if held == expected {
            return (0, false);
        }
        // What was acknowledged after the write that is there; of a point that is gone, after its last delete.
        let reached = held.or_else(|| self.acknowledged.iter().rev().find(|op| op.delete).map(|op| op.counter));
        let lost = self.acknowledged.iter().filter(|op| reached.is_none_or(|reached| op.counter > reached)).count();
        // A counter that nobody wrote, or one from the future, is a wrong state too.
        (lost.max(1), false)
    }
}
