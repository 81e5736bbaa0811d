//! Orderly stop: leadership is transferred first, and a last snapshot is written once no requests arrive.
//!
//! ```text
//!   Drain ──► hand over ──► Drained ──► (the shell ends open requests) ──► Finish(within) ──► snapshot ──► Finished
//!                                                                               └─ not worth it, or not in time ─┘
//! ```
//! Nothing depends on its completion: a process that is killed during it leaves a draft, which the next start removes.

use std::time::Duration;

use crate::Command;
use crate::context::Ctx;
use crate::effect::Effect;

/// Time limit of a leadership transfer; then the others elect without help.
const GIVE_UP: Duration = Duration::from_secs(5);
/// A last snapshot is written if the log after the newest one is at least this fraction of it. A start builds graphs
/// from log entries, which takes about a hundred times as long per byte as writing a snapshot.
const LAST_SHARE: u64 = 128;
/// Assumed speed of writing a snapshot, in bytes per second, until this process has written one: a slow disk.
const SPEED: u64 = 64 << 20;

/// Progress of the stop.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    draining: Option<Draining>,
}

/// State after the request to stop.
#[derive(Debug)]
struct Draining {
    since: Duration,
    done: bool,
    last: Option<LastSnapshot>,
}

/// The request for a last snapshot.
#[derive(Debug, Clone, Copy)]
struct LastSnapshot {
    until: Duration,
    is_begun: bool,
}

/// Returns true if a last snapshot saves the next start more time than it costs, and ends in time. `bytes`: size of the
/// newest snapshot. `behind`: size of the log after it. `speed`: bytes per second at which that snapshot was written.
fn is_worth(bytes: u64, behind: u64, speed: Option<u64>, within: Duration) -> bool {
    let expected = Duration::from_secs_f64((bytes + behind) as f64 / speed.unwrap_or(SPEED).max(1) as f64);
    behind > 0 && behind >= bytes / LAST_SHARE && expected <= within
}

/// Events about the stop.
#[derive(Debug)]
pub(crate) enum Event {
    /// The process is requested to stop.
    Drain,
    /// No further requests arrive, and the process ends within this time.
    Finish { within: Duration },
    /// The last snapshot was started, or could not be.
    SnapshotTried,
    /// Time has passed.
    Tick,
}

impl Drain {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Drain if self.draining.is_some() => {}
            Event::Drain => {
                self.draining = Some(Draining { since: cx.now.mono, done: false, last: None });
                self.tick(cx);
            }
            Event::Finish { within } => {
                let now = cx.now.mono;
                let draining = self.draining.get_or_insert(Draining { since: now, done: true, last: None });
                draining.last = Some(LastSnapshot { until: now.saturating_add(within), is_begun: false });
                self.tick_last_snapshot(cx);
            }
            Event::SnapshotTried => self.finish(cx),
            Event::Tick => self.tick(cx),
        }
    }

    /// Returns true if this replica is requested to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        self.tick_last_snapshot(cx);
        let Some(draining) = self.draining.as_mut().filter(|draining| !draining.done) else { return };
        let led = cx.raft.is_leader();
        let alone = cx.raft.voter_count() <= 1;
        if !led || alone || cx.now.mono.saturating_sub(draining.since) >= GIVE_UP {
            draining.done = true;
            cx.command(Command::Drained);
        } else {
            cx.hand_over();
        }
    }

    fn tick_last_snapshot(&mut self, cx: &mut Ctx<'_>) {
        let Some(last) = self.draining.as_ref().and_then(|draining| draining.last) else { return };
        let left = last.until.saturating_sub(cx.now.mono);
        let snapshots = cx.facts.snapshots;
        if !left.is_zero() && snapshots.taking {
            return;
        }
        let behind = cx.log_bytes.since(snapshots.newest);
        let is_wanted = || is_worth(snapshots.bytes, behind, snapshots.speed, left);
        if !last.is_begun && !snapshots.taking && cx.state.applied().0 > snapshots.newest && is_wanted() {
            self.note_last_snapshot(Some(LastSnapshot { is_begun: true, ..last }));
            cx.effects.push(Effect::TakeLastSnapshot);
        } else {
            self.end(cx);
        }
    }

    /// Reports completion unless the last snapshot was started.
    fn finish(&mut self, cx: &mut Ctx<'_>) {
        if !cx.facts.snapshots.taking {
            self.end(cx);
        }
    }

    fn end(&mut self, cx: &mut Ctx<'_>) {
        self.note_last_snapshot(None);
        let snapshots = cx.facts.snapshots;
        let entries_behind = cx.state.applied().0.saturating_sub(snapshots.newest);
        cx.command(Command::Finished { entries_behind, is_abandoned: snapshots.taking });
    }

    fn note_last_snapshot(&mut self, last: Option<LastSnapshot>) {
        if let Some(draining) = &mut self.draining {
            draining.last = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::testing::Bench;

    const MIB: u64 = 1 << 20;
    const MS: Duration = Duration::from_millis(1);

    fn is_drained(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::Command(Command::Drained)))
    }

    #[test]
    fn one_that_does_not_lead_has_nothing_to_hand_over() {
        let (mut bench, mut drain) = (Bench::of(3), Drain::default());
        assert!(!drain.is_draining());
        assert!(is_drained(&bench.lend(|cx| drain.handle(cx, Event::Drain))));
        assert!(drain.is_draining());
        assert!(bench.lend(|cx| drain.handle(cx, Event::Drain)).is_empty(), "it is reported once");
        assert!(bench.lend(|cx| drain.handle(cx, Event::Tick)).is_empty());
    }

    #[test]
    fn a_single_replica_has_no_transfer_target() {
        let (mut bench, mut drain) = (Bench::new(), Drain::default());
        bench.lead();
        assert!(is_drained(&bench.lend(|cx| drain.handle(cx, Event::Drain))));
    }

    #[test]
    fn a_last_snapshot_is_taken_before_the_end() {
        for begins in [true, false] {
            let (mut bench, mut drain) = (Bench::new(), Drain::default());
            bench.lead();
            let index = bench.state.applied().0;
            bench.log_bytes.push(index, 1_000);
            let effects = bench.lend(|cx| drain.handle(cx, Event::Finish { within: 1_000 * MS }));
            assert!(matches!(effects.as_slice(), [Effect::TakeLastSnapshot]));
            bench.facts.snapshots.taking = begins;
            let tried = bench.lend(|cx| drain.handle(cx, Event::SnapshotTried));
            let effects = if begins {
                assert!(tried.is_empty());
                assert!(bench.lend(|cx| drain.handle(cx, Event::Tick)).is_empty(), "it is being written");
                (bench.facts.snapshots.taking, bench.facts.snapshots.newest) = (false, index);
                bench.lend(|cx| drain.handle(cx, Event::Tick))
            } else {
                tried
            };
            let behind = if begins { 0 } else { index };
            assert!(matches!(
                effects.as_slice(),
                [Effect::Command(Command::Finished { entries_behind, is_abandoned: false })] if *entries_behind == behind
            ));
        }
    }

    #[test]
    fn a_last_snapshot_that_does_not_end_in_time_is_abandoned() {
        let (mut bench, mut drain) = (Bench::new(), Drain::default());
        bench.lead();
        bench.facts.snapshots.taking = true;
        assert!(bench.lend(|cx| drain.handle(cx, Event::Finish { within: 100 * MS })).is_empty());
        bench.pass(100 * MS);
        let effects = bench.lend(|cx| drain.handle(cx, Event::Tick));
        assert!(matches!(effects.as_slice(), [Effect::Command(Command::Finished { is_abandoned: true, .. })]));
    }

    #[test]
    fn a_last_snapshot_is_written_when_it_saves_more_than_it_costs_and_ends_in_time() {
        let check = |bytes, behind, speed, seconds, worth| {
            let within = Duration::from_secs(seconds);
            assert_eq!(is_worth(bytes, behind, speed, within), worth, "{bytes} {behind} {speed:?} {seconds}");
        };
        // The first snapshot.
        check(0, MIB, None, 1, true);
        check(0, 0, None, 1, false);
        check(0, MIB, None, 0, false);
        // A log that is short compared to its snapshot is replayed faster than the snapshot is written.
        check(1_280 * MIB, 9 * MIB, None, 30, false);
        check(1_280 * MIB, 10 * MIB, None, 30, true);
        check(1_280 * MIB, 10 * MIB, None, 20, false);
        check(1_280 * MIB, 10 * MIB, Some(1_000 * MIB), 2, true);
        check(1_280 * MIB, 10 * MIB, Some(1_000 * MIB), 1, false);
        check(u64::MAX / 2, u64::MAX / 4, Some(0), 600, false);
    }
}
