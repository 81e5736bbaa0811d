//! The clocks of the machine as its parts use them, the exchange of readings with the group, and what a leader does whose
//! clock is wrong.

use std::time::Duration;

use meridian_model::{ReplicaId, WallMillis};
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::Role as RaftRole;

use crate::injection::InjectedBug;
use crate::wall_clock::Verdict;
use crate::{Now, Replica};

/// How often the other voters are asked for their clocks.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// And while nothing may be believed of the own one.
const ASK_SOON: Duration = Duration::from_millis(40);
/// Between two hand-overs because of the clock.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(10);

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// The boot clock: for waits.
    pub(crate) mono: Duration,
    /// The boot clock and all by which the wall clock's offset from it grew: the wall clock had been behind, or the boot
    /// clock stood still. For ages: whichever it was, they are not too small.
    pub(crate) age: Duration,
    /// The boot clock plus the offset in use.
    pub(crate) wall: Duration,
}

impl Time {
    pub(crate) fn new(now: Now) -> Self {
        Self { mono: now.mono, age: now.mono, wall: now.wall }
    }

    pub(crate) fn wall_millis(&self) -> WallMillis {
        Now { mono: self.mono, wall: self.wall }.wall_millis()
    }
}

/// When something about clocks was done last.
#[derive(Debug, Default)]
pub(crate) struct ClockExchange {
    asked: Duration,
    handed_over: Option<Duration>,
}

impl Replica {
    /// Takes the time from the clocks of the machine, each of which may be wrong.
    pub(crate) fn read_clocks(&mut self, now: Now) {
        // A boot clock that went back must not take the machine with it.
        let mono = now.mono.max(self.now.mono);
        let grown = self.clock.check(Now { mono, wall: now.wall });
        let grown = if self.settings.injects(InjectedBug::BelieveSteps) {
            grown + self.clock.believe()
        } else if self.settings.injects(InjectedBug::ForgetStandstill) {
            Duration::ZERO
        } else {
            grown
        };
        let age = self.now.age + (mono - self.now.mono) + grown;
        self.now = Time { mono, age, wall: self.clock.wall(mono) };
    }

    /// Whether ages and statements may be told by this replica's wall clock.
    pub(crate) fn trusts_clock(&self) -> bool {
        self.clock.verdict() == Verdict::Trusted
    }

    /// What is wrong with the wall clock, for people; `None` while nothing is, or nothing is known.
    #[must_use]
    pub fn clock_fault(&self) -> Option<String> {
        let bound = self.settings.clock_bound.as_millis();
        match self.clock.verdict() {
            Verdict::Off(by) => {
                let (by, way) = (by.unsigned_abs() / 1_000, if by > 0 { "ahead of" } else { "behind" });
                let wait = "staleness is unknown until it agrees";
                Some(format!("clock is at least {by}ms {way} the median of the group (clockBound {bound}ms); {wait}"))
            }
            _ if self.clock.is_suspended() => {
                let drift = self.settings.max_drift.as_millis();
                Some(format!("clock stepped (maxDrift {drift}ms) and does not agree with the group; it is not used"))
            }
            Verdict::Trusted | Verdict::Unproven => None,
        }
    }

    pub(crate) fn tick_clock(&mut self) {
        let voters = self.raft.members().voters;
        let now = self.now.mono;
        let verdict = self.clock.verdict();
        let every = if verdict == Verdict::Trusted && !self.clock.is_suspended() { ASK_EVERY } else { ASK_SOON };
        if now.saturating_sub(self.clock_exchange.asked) >= every {
            self.clock_exchange.asked = now;
            let own = self.me().replica;
            for voter in voters.iter().map(|id| ReplicaId(*id)).filter(|voter| *voter != own) {
                let call = self.number();
                self.clock.asks(call, voter, now);
                self.send_replica(voter, PeerMessage::Call(call, Call::Clock));
            }
        }
        self.clock.set_voters(voters);
        if matches!(verdict, Verdict::Off(_)) {
            self.hand_over_for_clock();
        }
    }

    pub(crate) fn clock_asked(&mut self, from: NodeId, call: u64) {
        let wall = self.clock.raw_wall(self.now.mono);
        self.send(from, PeerMessage::Answer(call, CallAnswer::Clock(wall)));
    }

    pub(crate) fn clock_heard(&mut self, from: NodeId, call: u64, wall: Duration) {
        if from.shard == self.me().shard {
            self.clock.heard(call, from.replica, wall, self.now.mono);
        }
    }

    /// A leader whose clock is wrong states nothing: another may do better. Without one it goes on, for writes need no clock.
    fn hand_over_for_clock(&mut self) {
        let now = self.now.mono;
        let lately = self.clock_exchange.handed_over.is_some_and(|at| now.saturating_sub(at) < HAND_OVER_AGAIN);
        let status = self.raft.status();
        if lately || status.role != RaftRole::Leader || status.transferring_to.is_some() {
            return;
        }
        let caught_up =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active && peer.matched >= status.commit);
        let candidates: Vec<ReplicaId> = caught_up.map(|peer| ReplicaId(peer.id)).collect();
        if let Some(better) = self.clock.better(&candidates) {
            self.clock_exchange.handed_over = Some(now);
            self.counters.clock_hand_overs += 1;
            // Refused only when this replica no longer leads, which is what is wanted.
            let _ = self.raft.transfer_leader(better.0);
        }
    }
}

#[cfg(test)]
mod tests;
