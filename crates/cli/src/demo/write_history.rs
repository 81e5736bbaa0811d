//! History of the demo's writes, compared with the final state of a region.
//!
//! Every write of a point carries a counter that grows by one. A write with an unknown outcome (a broken connection, or a
//! 5xx response) closes its point: no later write touches it, so a final read shows whether the write was executed.
//! Therefore the number of distinct committed operations is known exactly.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One write of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Number of the write among those of its point, from 1.
    pub counter: u64,
    /// Whether the write is a delete; an upsert carries the counter in its payload.
    pub delete: bool,
}

/// Outcome of a write, as the client observed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Acknowledged,
    /// Certainly not executed.
    Refused,
    /// Possibly executed, now or later.
    Unknown,
}

#[derive(Debug, Default)]
struct Point {
    acknowledged: Vec<Op>,
    unknown: Option<Op>,
    /// A write is in flight.
    busy: bool,
}

/// All writes of one run, by point id.
#[derive(Debug, Default)]
pub struct WriteHistory(Mutex<BTreeMap<u64, Point>>);

/// Result of the comparison with one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// Acknowledged writes that are neither present nor overwritten.
    pub lost: usize,
    /// Writes of unknown outcome that are present.
    pub resolved: usize,
}

impl WriteHistory {
    fn points(&self) -> MutexGuard<'_, BTreeMap<u64, Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a write of `point`. `None` when the point is closed or has a write in flight, or a delete finds no point.
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

    /// Records the outcome of a write that [`WriteHistory::begin`] returned.
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

    /// Ids of all points with at least one write.
    pub fn written(&self) -> Vec<u64> {
        self.points().keys().copied().collect()
    }

    /// Number of acknowledged writes.
    pub fn acknowledged(&self) -> usize {
        self.points().values().map(|point| point.acknowledged.len()).sum()
    }

    /// Number of writes with an unknown outcome.
    pub fn unknown(&self) -> usize {
        self.points().values().filter(|point| point.unknown.is_some()).count()
    }

    /// Compares the history with a region's state: `held` maps each existing point to its counter.
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
    /// Number of lost acknowledged writes, and whether the unknown write is present.
    fn audit(&self, held: Option<u64>) -> (usize, bool) {
        let last = self.acknowledged.last();
        if let Some(unknown) = self.unknown {
            // A delete begins only on an existing point, so an absent point proves that it was executed.
            let stands = if unknown.delete { held.is_none() } else { held == Some(unknown.counter) };
            if stands {
                return (0, true);
            }
        }
        let expected = last.filter(|last| !last.delete).map(|last| last.counter);
        if held == expected {
            return (0, false);
        }
        // Lost are the writes after the present one; when the point is absent, those after its last delete.
        let reached = held.or_else(|| self.acknowledged.iter().rev().find(|op| op.delete).map(|op| op.counter));
        let lost = self.acknowledged.iter().filter(|op| reached.is_none_or(|reached| op.counter > reached)).count();
        // A counter that no client wrote is a wrong state as well.
        (lost.max(1), false)
    }
}
