//! The wall time in use: the boot clock plus an offset that only the check below changes.
//!
//! ```text
//!   reading ──► within max_drift of the reading at most 1 s before? ── yes ──► offset follows it
//!                 └ no: suspended, and all that was measured of others is forgotten
//!                     ├ within max_drift of the median of the group's readings ──► offset follows it
//!                     └ alone, and steady for 3 s ───────────────────────────────► offset follows it
//! ```
//! The replicas of a group exchange raw readings, not the times in use: otherwise a step of all clocks would never be
//! accepted. The measurement of another clock is an interval, since the two directions may differ in delay; "provably"
//! means for every value in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_model::ReplicaId;

use crate::Now;

/// Microseconds from the boot clock to a wall clock.
type Offset = i64;

/// Largest age of a reading with which a new one is compared.
const COMPARED_WITHIN: Duration = Duration::from_secs(1);
/// Time after which a replica without others accepts a stepped clock.
const ALONE: Duration = Duration::from_secs(3);
/// Time for which a measurement of another clock counts: clocks drift by at most some 100 µs a second.
const COUNTS_FOR: Duration = Duration::from_secs(5);
/// Offsets within this many microseconds count as equal: reading two clocks takes time.
const JITTER: Offset = 100;

/// Trust in the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fewer than a quorum of clocks are known, or the clock stepped and is not confirmed yet.
    Unproven,
    /// Within the clock bound of the group's median, as far as measured.
    Trusted,
    /// Provably further from the median than the clock bound: by at least so many microseconds, ahead or behind.
    Off(Offset),
}

/// Measurement of another clock: bounds of its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    low: Offset,
    high: Offset,
    at: Duration,
}

impl Measured {
    fn width(&self) -> Offset {
        self.high - self.low
    }
}

/// The wall clock of one replica, with measurements of the other clocks of its group.
#[derive(Debug)]
pub(crate) struct WallClock {
    own: ReplicaId,
    voters: BTreeSet<u64>,
    max_drift: Duration,
    clock_bound: Duration,
    /// The offset in use.
    offset: Offset,
    /// The offset of the machine's clock.
    raw: Offset,
    /// The reading with which new ones are compared.
    compared: (Duration, Offset),
    /// Time since which the machine's clock is not used.
    suspended: Option<Duration>,
    peers: BTreeMap<ReplicaId, Measured>,
    /// Open requests: receiver, and time of sending.
    asked: BTreeMap<u64, (ReplicaId, Duration)>,
}

impl WallClock {
    pub(crate) fn new(now: Now, own: ReplicaId, max_drift: Duration, clock_bound: Duration) -> Self {
        let raw = micros(now.wall) - micros(now.mono);
        Self {
            own,
            voters: BTreeSet::new(),
            max_drift,
            clock_bound,
            offset: raw,
            raw,
            compared: (now.mono, raw),
            suspended: None,
            peers: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Sets the voters, whose clocks count.
    pub(crate) fn set_voters(&mut self, voters: BTreeSet<u64>) {
        self.voters = voters;
    }

    /// Checks a reading; returns the increase of the offset: the clock was behind by so much, or the boot clock stood
    /// still.
    pub(crate) fn check(&mut self, now: Now) -> Duration {
        self.raw = micros(now.wall) - micros(now.mono);
        self.peers.retain(|_, measured| now.mono.saturating_sub(measured.at) < COUNTS_FOR);
        let drift = micros(self.max_drift);
        if (self.raw - self.compared.1).abs() > drift {
            // The boot clock may have stood still: measurements against it are void.
            self.suspended = Some(now.mono);
            self.compared = (now.mono, self.raw);
            self.peers.clear();
            self.asked.clear();
        } else if now.mono.saturating_sub(self.compared.0) >= COMPARED_WITHIN {
            self.compared = (now.mono, self.raw);
        }
        if let Some(since) = self.suspended {
            let agrees = |(low, high): (Offset, Offset)| self.raw >= low - drift && self.raw <= high + drift;
            let is_confirmed = if self.is_alone() {
                now.mono.saturating_sub(since) >= ALONE
            } else {
                self.median().is_some_and(agrees)
            };
            if !is_confirmed {
                return Duration::ZERO;
            }
            self.suspended = None;
        }
        self.follow()
    }

    /// Injected bug: uses the machine's clock from now on without a check.
    pub(crate) fn believe(&mut self) -> Duration {
        self.suspended = None;
        self.follow()
    }

    fn follow(&mut self) -> Duration {
        let grown = self.raw - self.offset;
        if grown.abs() < JITTER {
            return Duration::ZERO;
        }
        self.offset = self.raw;
        Duration::from_micros(u64::try_from(grown).unwrap_or_default())
    }

    /// Wall time by the boot clock.
    pub(crate) fn wall(&self, boot: Duration) -> Duration {
        time(boot, self.offset)
    }

    /// The reading of the machine's clock, for comparison by other replicas.
    pub(crate) fn raw_wall(&self, boot: Duration) -> Duration {
        time(boot, self.raw)
    }

    fn is_alone(&self) -> bool {
        self.voters.len() == 1 && self.voters.contains(&self.own.0)
    }

    /// Returns true if the machine's clock stepped and is not used.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// Records a request for the clock of `peer`.
    pub(crate) fn asks(&mut self, call: u64, peer: ReplicaId, boot: Duration) {
        self.asked.retain(|_, (to, _)| *to != peer);
        self.asked.insert(call, (peer, boot));
    }

    /// Records the answer. After a long round trip it is too imprecise.
    pub(crate) fn heard(&mut self, call: u64, peer: ReplicaId, wall: Duration, boot: Duration) {
        let Some((to, sent)) = self.asked.remove(&call) else { return };
        if to != peer || boot.saturating_sub(sent) >= self.max_drift / 2 {
            return;
        }
        let measured = Measured { low: micros(wall) - micros(boot), high: micros(wall) - micros(sent), at: boot };
        let says_more = |held: &&Measured| {
            let recent = boot.saturating_sub(held.at) < COMPARED_WITHIN;
            recent && held.width() < measured.width() && held.low <= measured.high && measured.low <= held.high
        };
        // A slow answer must not replace a fast one that it is consistent with.
        if self.peers.get(&peer).filter(says_more).is_none() {
            self.peers.insert(peer, measured);
        }
    }

    /// Bounds of the median of the group's readings; `None` while fewer than a quorum are known.
    fn median(&self) -> Option<(Offset, Offset)> {
        let all = self.readings();
        if all.len() * 2 <= self.voters.len() {
            return None;
        }
        let middle = |pick: fn(&(Offset, Offset)) -> Offset| {
            let mut sorted: Vec<Offset> = all.values().map(pick).collect();
            sorted.sort_unstable();
            let upper = sorted.len() / 2;
            if sorted.len() % 2 == 1 { sorted[upper] } else { i64::midpoint(sorted[upper - 1], sorted[upper]) }
        };
        Some((middle(|reading| reading.0), middle(|reading| reading.1)))
    }

    /// The known raw readings of the voters.
    fn readings(&self) -> BTreeMap<ReplicaId, (Offset, Offset)> {
        let known = |id: &u64| {
            let replica = ReplicaId(*id);
            if replica == self.own {
                return Some((replica, (self.raw, self.raw)));
            }
            self.peers.get(&replica).map(|measured| (replica, (measured.low, measured.high)))
        };
        self.voters.iter().filter_map(known).collect()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.is_alone() {
            return if self.is_suspended() { Verdict::Unproven } else { Verdict::Trusted };
        }
        let Some((low, high)) = self.median() else { return Verdict::Unproven };
        let bound = micros(self.clock_bound);
        if self.offset > high + bound {
            Verdict::Off(self.offset - high)
        } else if self.offset < low - bound {
            Verdict::Off(self.offset - low)
        } else {
            Verdict::Trusted
        }
    }

    /// The candidates whose clocks agree with more of the group than the time in use here.
    pub(crate) fn better(&self, candidates: &[ReplicaId]) -> Option<ReplicaId> {
        let all = self.readings();
        let bound = micros(self.clock_bound);
        let agreeing = |who: ReplicaId, (low, high): (Offset, Offset)| {
            let near = |(other, reading): (&ReplicaId, &(Offset, Offset))| {
                *other == who || (reading.0 - high <= bound && low - reading.1 <= bound)
            };
            all.iter().filter(|(other, reading)| near((other, reading))).count()
        };
        let here = agreeing(self.own, (self.offset, self.offset));
        let with = |candidate: &ReplicaId| Some((agreeing(*candidate, *all.get(candidate)?), *candidate));
        let best = candidates.iter().filter_map(with).max_by_key(|(count, _)| *count)?;
        (best.0 > here).then_some(best.1)
    }
}

fn micros(time: Duration) -> i64 {
    // Half of the range, so that no difference of two overflows: 146,000 years.
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

fn time(boot: Duration, offset: Offset) -> Duration {
    Duration::from_micros(u64::try_from(micros(boot) + offset).unwrap_or_default())
}

#[cfg(test)]
mod tests;
