//! Wall time that may be used: the boot clock plus an offset, and only the check below changes the offset.
//!
//! ```text
//!   reading ──► within max_drift of the reading at most 1 s before? ── yes ──► offset follows it
//!                 └ no: suspended, and all that was measured of others is forgotten
//!                     ├ within max_drift of the median of the group's readings ──► offset follows it
//!                     └ alone, and steady for 3 s ───────────────────────────────► offset follows it
//! ```
//! The replicas of a group exchange their raw readings, not the times that they use: else a step of all of them would never
//! end. What is measured of another clock is an interval, for the way there and back may take unequally long: "provably"
//! means of every value in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_model::ReplicaId;

use crate::Now;

/// Microseconds from the boot clock to a wall clock.
type Offset = i64;

/// A reading is compared with one that is at most this old.
const COMPARED_WITHIN: Duration = Duration::from_secs(1);
/// A replica that is alone believes a stepped clock after this.
const ALONE: Duration = Duration::from_secs(3);
/// What was measured of another clock counts for this long: clocks drift by some 100 µs a second at most.
const COUNTS_FOR: Duration = Duration::from_secs(5);
/// Offsets within this are one offset: reading two clocks takes time.
const JITTER: Offset = 100;

/// Whether what follows from the wall clock may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No quorum of clocks is known, or the clock stepped and is not confirmed yet.
    Unproven,
    /// Within the clock bound of the median of the group, as far as can be told.
    Trusted,
    /// Provably further from the median than the clock bound: by so many microseconds at least, ahead or behind.
    Off(Offset),
}

/// What was measured of another clock: between these two.
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

/// The wall clock of one replica, and what it knows of the clocks of its group.
#[derive(Debug)]
pub(crate) struct WallClock {
    own: ReplicaId,
    voters: BTreeSet<u64>,
    max_drift: Duration,
    clock_bound: Duration,
    /// In use.
    offset: Offset,
    /// As the machine's clock says.
    raw: Offset,
    /// The reading that new ones are compared with.
    compared: (Duration, Offset),
    /// Since when the machine's clock is not used.
    suspended: Option<Duration>,
    peers: BTreeMap<ReplicaId, Measured>,
    /// Questions under way: to whom, and when they were asked.
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

    /// Whose clocks count.
    pub(crate) fn set_voters(&mut self, voters: BTreeSet<u64>) {
        self.voters = voters;
    }

    /// Looks at a reading; returns by how much the offset grew: by so much the clock was behind, or the boot clock stood still.
    pub(crate) fn check(&mut self, now: Now) -> Duration {
        self.raw = micros(now.wall) - micros(now.mono);
        self.peers.retain(|_, measured| now.mono.saturating_sub(measured.at) < COUNTS_FOR);
        let drift = micros(self.max_drift);
        if (self.raw - self.compared.1).abs() > drift {
            // The boot clock may have stood still: what was measured against it is void.
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

    /// Uses the machine's clock from now on, whatever it says: a bug, injected by the simulation.
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

    /// What the machine's clock says, for others to compare theirs with.
    pub(crate) fn raw_wall(&self, boot: Duration) -> Duration {
        time(boot, self.raw)
    }

    fn is_alone(&self) -> bool {
        self.voters.len() == 1 && self.voters.contains(&self.own.0)
    }

    /// Whether the machine's clock stepped, and is not used.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// A question for the clock of `peer` goes out.
    pub(crate) fn asks(&mut self, call: u64, peer: ReplicaId, boot: Duration) {
        self.asked.retain(|_, (to, _)| *to != peer);
        self.asked.insert(call, (peer, boot));
    }

    /// The answer. One that took long says too little.
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
        // A slow answer must not take the place of a fast one that it agrees with.
        if self.peers.get(&peer).filter(says_more).is_none() {
            self.peers.insert(peer, measured);
        }
    }

    /// Where the median of the group's readings lies; `None` while fewer than a quorum are known.
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

    /// The raw readings of the voters, as far as they are known.
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

    /// The candidates with which more of the group agrees than with the time that is used here.
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
