//! Stopping without a pause: the leadership is handed over first, and a last snapshot is written when nobody asks any more.
//!
//! ```text
//!   Drain ──► hand over ──► Drained ──► (the shell ends open requests) ──► Finish(within) ──► snapshot ──► Finished
//!                                                                               └─ not worth it, or not in time ─┘
//! ```
//! Nothing depends on the end of this: a process that is killed in the middle leaves a draft, which the next start removes.

use std::time::Duration;

use crate::{Command, Replica};

/// A handover that does not succeed in this time is given up: the others elect without help.
const GIVE_UP: Duration = Duration::from_secs(5);
/// A last snapshot is written when the log behind the newest one is at least this part of it. A start builds graphs of what
/// the log holds, which takes it about a hundred times as long by the byte as writing a snapshot takes.
const LAST_SHARE: u64 = 128;
/// Bytes a second that a snapshot is written at, as long as this process has written none: a slow disk.
const SPEED: u64 = 64 << 20;

/// Asked to stop.
#[derive(Debug)]
pub(crate) struct Draining {
    since: Duration,
    done: bool,
    last: Option<LastSnapshot>,
}

/// Asked to write a last snapshot.
#[derive(Debug, Clone, Copy)]
struct LastSnapshot {
    until: Duration,
    is_begun: bool,
}

/// Whether a last snapshot saves the next start more than it costs, and ends in time. `bytes`: of the newest snapshot.
/// `behind`: of the log behind it. `speed`: bytes a second at which that snapshot was written.
fn is_worth(bytes: u64, behind: u64, speed: Option<u64>, within: Duration) -> bool {
    let expected = Duration::from_secs_f64((bytes + behind) as f64 / speed.unwrap_or(SPEED).max(1) as f64);
    behind > 0 && behind >= bytes / LAST_SHARE && expected <= within
}

impl Replica {
    pub(crate) fn drain(&mut self) {
        if self.draining.is_none() {
            self.draining = Some(Draining { since: self.now.mono, done: false, last: None });
            self.tick_drain();
        }
    }

    /// Nobody asks any more, and the process ends in so long at the latest.
    pub(crate) fn begin_last_snapshot(&mut self, within: Duration) {
        let now = self.now.mono;
        let draining = self.draining.get_or_insert(Draining { since: now, done: true, last: None });
        draining.last = Some(LastSnapshot { until: now.saturating_add(within), is_begun: false });
        self.tick_last_snapshot();
    }

    pub(crate) fn tick_drain(&mut self) {
        self.tick_last_snapshot();
        let Some(draining) = self.draining.as_mut().filter(|draining| !draining.done) else { return };
        let led = self.raft.status().role == meridian_raft::Role::Leader;
        let alone = self.raft.members().voters.len() <= 1;
        if !led || alone || self.now.mono.saturating_sub(draining.since) >= GIVE_UP {
            draining.done = true;
            self.out.push(Command::Drained);
        } else {
            self.hand_over();
        }
    }

    fn tick_last_snapshot(&mut self) {
        let Some(last) = self.draining.as_ref().and_then(|draining| draining.last) else { return };
        let left = last.until.saturating_sub(self.now.mono);
        if !left.is_zero() && self.snapshots.is_taking() {
            return;
        }
        let newest = self.snapshots.newest;
        let behind = self.consensus.log_bytes.since(newest);
        let is_wanted = || is_worth(self.snapshots.bytes, behind, self.snapshots.speed, left);
        if !last.is_begun && !self.snapshots.is_taking() && self.state.applied().0 > newest && is_wanted() {
            self.note_last_snapshot(Some(LastSnapshot { is_begun: true, ..last }));
            self.take_snapshot();
            if self.snapshots.is_taking() {
                return;
            }
        }
        self.note_last_snapshot(None);
        let entries_behind = self.state.applied().0.saturating_sub(newest);
        self.out.push(Command::Finished { entries_behind, is_abandoned: self.snapshots.is_taking() });
    }

    fn note_last_snapshot(&mut self, last: Option<LastSnapshot>) {
        if let Some(draining) = &mut self.draining {
            draining.last = last;
        }
    }

    /// Hands the leadership to the voter that has the most of the log.
    pub(crate) fn hand_over(&mut self) {
        let status = self.raft.status();
        if status.transferring_to.is_some() {
            return;
        }
        let heir =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active).max_by_key(|peer| peer.matched);
        if let Some(heir) = heir {
            // Refused only when this replica no longer leads, which is what is wanted.
            let _ = self.raft.transfer_leader(heir.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_last_snapshot_is_written_when_it_saves_more_than_it_costs_and_ends_in_time() {
        let check = |bytes, behind, speed, seconds, worth| {
            let within = Duration::from_secs(seconds);
            assert_eq!(is_worth(bytes, behind, speed, within), worth, "{bytes} {behind} {speed:?} {seconds}");
        };
        // The first one of all.
        check(0, MIB, None, 1, true);
        check(0, 0, None, 1, false);
        check(0, MIB, None, 0, false);
        // A log that is short beside its snapshot is replayed sooner than written again.
        check(1_280 * MIB, 9 * MIB, None, 30, false);
        check(1_280 * MIB, 10 * MIB, None, 30, true);
        check(1_280 * MIB, 10 * MIB, None, 20, false);
        check(1_280 * MIB, 10 * MIB, Some(1_000 * MIB), 2, true);
        check(1_280 * MIB, 10 * MIB, Some(1_000 * MIB), 1, false);
        check(u64::MAX / 2, u64::MAX / 4, Some(0), 600, false);
    }
}
