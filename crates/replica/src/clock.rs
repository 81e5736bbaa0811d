//! The clocks of the machine for its parts, the exchange of readings within the group, and a leader's reaction to a
//! wrong clock.

use std::time::Duration;

use meridian_model::ReplicaId;
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::Role as RaftRole;

use crate::context::Ctx;
use crate::injection::InjectedBug;
use crate::time::Time;
use crate::wall_clock::{Verdict, WallClock};
use crate::{Now, Settings};

/// Interval of requests for the clocks of the other voters.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Interval while the own clock is unproven.
const ASK_SOON: Duration = Duration::from_millis(40);
/// Time between two transfers of leadership because of the clock.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(10);

/// The wall clock of this replica, and the times of the last actions.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: WallClock,
    asked: Duration,
    handed_over: Option<Duration>,
}

/// Events about clocks.
#[derive(Debug)]
pub(crate) enum Event {
    /// Another replica requests the reading of this machine's clock.
    Asked { from: NodeId, call: u64 },
    /// Another replica's reading.
    Heard { from: NodeId, call: u64, wall: Duration },
    /// Time has passed.
    Tick,
}

impl Clock {
    pub(crate) fn new(now: Now, own: ReplicaId, settings: &Settings) -> Self {
        let wall = WallClock::new(now, own, settings.max_drift, settings.clock_bound);
        Self { wall, asked: Duration::ZERO, handed_over: None }
    }

    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Asked { from, call } => {
                let wall = self.wall.raw_wall(cx.now.mono);
                cx.send(from, PeerMessage::Answer(call, CallAnswer::Clock(wall)));
            }
            Event::Heard { from, call, wall } => {
                if from.shard == cx.me().shard {
                    self.wall.heard(call, from.replica, wall, cx.now.mono);
                }
            }
            Event::Tick => self.tick(cx),
        }
    }

    /// The current time by the clocks of the machine, each of which may be wrong. `before`: the last result.
    pub(crate) fn read(&mut self, now: Now, before: Time, settings: &Settings) -> Time {
        // A boot clock that goes back must not affect the machine.
        let mono = now.mono.max(before.mono);
        let grown = self.wall.check(Now { mono, wall: now.wall });
        let grown = if settings.injects(InjectedBug::BelieveSteps) {
            grown + self.wall.believe()
        } else if settings.injects(InjectedBug::ForgetStandstill) {
            Duration::ZERO
        } else {
            grown
        };
        let age = before.age + (mono - before.mono) + grown;
        Time { mono, age, wall: self.wall.wall(mono) }
    }

    /// Returns true if this replica's wall clock may be used for ages and statements.
    pub(crate) fn is_trusted(&self) -> bool {
        self.wall.verdict() == Verdict::Trusted
    }

    /// The fault of the wall clock, for status; `None` if there is none or nothing is known.
    pub(crate) fn fault(&self, settings: &Settings) -> Option<String> {
        let bound = settings.clock_bound.as_millis();
        match self.wall.verdict() {
            Verdict::Off(by) => {
                let (by, way) = (by.unsigned_abs() / 1_000, if by > 0 { "ahead of" } else { "behind" });
                let wait = "staleness is unknown until it agrees";
                Some(format!("clock is at least {by}ms {way} the median of the group (clockBound {bound}ms); {wait}"))
            }
            _ if self.wall.is_suspended() => {
                let drift = settings.max_drift.as_millis();
                Some(format!("clock stepped (maxDrift {drift}ms) and does not agree with the group; it is not used"))
            }
            Verdict::Trusted | Verdict::Unproven => None,
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        let voters = cx.raft.members().voters;
        let now = cx.now.mono;
        let verdict = self.wall.verdict();
        let every = if verdict == Verdict::Trusted && !self.wall.is_suspended() { ASK_EVERY } else { ASK_SOON };
        if now.saturating_sub(self.asked) >= every {
            self.asked = now;
            let own = cx.me().replica;
            for voter in voters.iter().map(|id| ReplicaId(*id)).filter(|voter| *voter != own) {
                let call = cx.numbers.allocate();
                self.wall.asks(call, voter, now);
                cx.send_replica(voter, PeerMessage::Call(call, Call::Clock));
            }
        }
        self.wall.set_voters(voters);
        if matches!(verdict, Verdict::Off(_)) {
            self.hand_over(cx);
        }
    }

    /// A leader with a wrong clock makes no statements, and transfers leadership to a voter with a better clock.
    /// Without one it stays, since writes need no clock.
    fn hand_over(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        let lately = self.handed_over.is_some_and(|at| now.saturating_sub(at) < HAND_OVER_AGAIN);
        let status = cx.raft.status();
        if lately || status.role != RaftRole::Leader || status.transferring_to.is_some() {
            return;
        }
        let caught_up =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active && peer.matched >= status.commit);
        let candidates: Vec<ReplicaId> = caught_up.map(|peer| ReplicaId(peer.id)).collect();
        if let Some(better) = self.wall.better(&candidates) {
            self.handed_over = Some(now);
            cx.counters.clock_hand_overs += 1;
            // It fails only if this replica no longer leads, which is the goal.
            let _ = cx.raft.transfer_leader(better.0);
        }
    }
}

#[cfg(test)]
mod tests;
