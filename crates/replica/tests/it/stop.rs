//! A process that stops: its last snapshot, the entries that the next start applies again, and a kill in the middle. Snapshots
//! wait until a test lets them go on.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Body, PointOp};
use meridian_model::{
    CollectionDef, CollectionName, Distance, HnswParams, LogIndex, Payload, PointId, VectorDef, Vectors,
};
use meridian_replica::{Command, Event, Settings};

use crate::shell;

struct Shell(shell::Shell);

impl std::ops::Deref for Shell {
    type Target = shell::Shell;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Shell {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Shell {
    /// Leads, and holds points that no snapshot holds.
    fn with_points(batches: u64) -> Self {
        let shell = shell::Shell::new("us-east", "us-east", Settings::default(), Duration::from_secs(1_000));
        let mut shell = Self(shell);
        shell.holds_snapshots = true;
        let name = CollectionName::new("words").unwrap();
        let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
        let def = CollectionDef { name, vectors: BTreeMap::from([(String::new(), vector)]) };
        shell.ask(Body::CreateCollection(def));
        (0..batches).for_each(|batch| shell.upsert(batch));
        assert_eq!(shell.points(), batches);
        shell
    }

    /// Kills the process and starts it again; says up to which entry its snapshot reaches.
    fn restart(mut self) -> (Self, LogIndex) {
        self.0.restart();
        let applied = self.replica.state().applied();
        self.ticks(100);
        (self, applied)
    }

    /// The ends of the process that were told: entries behind its snapshot, and whether one was abandoned.
    fn finished(&self) -> Vec<(u64, bool)> {
        let reported = |command: &Command| match command {
            Command::Finished { entries_behind, is_abandoned } => Some((*entries_behind, *is_abandoned)),
            _ => None,
        };
        self.seen.iter().filter_map(reported).collect()
    }

    /// The oldest snapshot that is to be written.
    fn held(&mut self) -> Option<Command> {
        let at = self.seen.iter().position(|command| matches!(command, Command::TakeSnapshot { .. }))?;
        Some(self.seen.remove(at))
    }

    fn ask(&mut self, body: Body) {
        let (_, event) = self.request(body);
        self.step(event);
        self.ticks(2);
    }

    fn upsert(&mut self, point: u64) {
        let op = PointOp::Upsert {
            point: PointId::Num(point),
            vectors: Vectors::unnamed(vec![1.0, point as f32]),
            payload: Payload("{}".into()),
        };
        self.ask(Body::Write { collection: CollectionName::new("words").unwrap(), ops: vec![op] });
    }

    fn points(&self) -> u64 {
        self.replica.state().collections().map(|collection| collection.points()).sum()
    }

    fn stop(&mut self, within: Duration) {
        self.step(Event::Drain);
        let is_drained = self.seen.iter().any(|command| matches!(command, Command::Drained));
        assert!(is_drained && self.finished().is_empty(), "a leader that is alone has nobody to hand over to");
        self.step(Event::Finish { within });
    }

    /// Writes the snapshot that waits.
    fn write_snapshot(&mut self) {
        let command = self.held().unwrap();
        let event = self.snapshots.perform(command).unwrap();
        self.step(event.unwrap());
        self.ticks(1);
    }
}

#[test]
fn after_a_last_snapshot_the_next_start_applies_nothing_again() {
    let mut shell = Shell::with_points(30);
    let applied = shell.replica.state().applied();
    shell.stop(Duration::from_secs(10));
    shell.ticks(5);
    assert!(shell.finished().is_empty(), "it waits for the snapshot");
    shell.write_snapshot();
    assert_eq!(shell.finished(), [(0, false)]);
    let digest = shell.replica.state().digest();
    let (mut shell, found) = shell.restart();
    assert_eq!((found, shell.replica.state().digest()), (applied, digest));
    // What was left then is the start of a term: nothing that would be worth a second snapshot of so few points.
    shell.upsert(30);
    assert_eq!(shell.points(), 31);
}

#[test]
fn without_entries_behind_the_newest_snapshot_none_is_written() {
    let mut shell = Shell::with_points(3);
    shell.stop(Duration::from_secs(10));
    shell.write_snapshot();
    shell.step(Event::Finish { within: Duration::from_secs(10) });
    assert!(shell.held().is_none());
    assert_eq!(shell.finished(), [(0, false), (0, false)]);
}

#[test]
fn a_snapshot_that_does_not_end_in_time_is_abandoned_and_nothing_is_lost() {
    let mut shell = Shell::with_points(30);
    let behind = shell.replica.state().applied().0;
    shell.stop(Duration::from_millis(100));
    shell.ticks(4);
    assert!(shell.finished().is_empty());
    shell.ticks(1);
    assert_eq!(shell.finished(), [(behind, true)]);
    let (shell, found) = shell.restart();
    assert!(found < LogIndex(behind), "there is no snapshot");
    assert_eq!(shell.points(), 30);
}

#[test]
fn without_time_no_snapshot_is_begun() {
    let mut shell = Shell::with_points(30);
    let behind = shell.replica.state().applied().0;
    shell.stop(Duration::ZERO);
    assert!(shell.held().is_none());
    assert_eq!(shell.finished(), [(behind, false)]);
}

/// The process is killed, or the power fails, at each operation of the disk while the last snapshot is written.
#[test]
fn a_kill_at_any_operation_of_the_last_snapshot_loses_nothing() {
    let mut finished = 0;
    for at in 1.. {
        let mut shell = Shell::with_points(5);
        shell.stop(Duration::from_secs(10));
        shell.disk.crash_at(at);
        let command = shell.held().unwrap();
        let event = shell.snapshots.perform(command).unwrap();
        let is_whole = matches!(event, Some(Event::SnapshotTaken { manifest: Some(_), .. }));
        let mut coin = at;
        shell.disk.crash(&mut |n| {
            coin = coin.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (coin >> 33) % n
        });
        let (mut shell, _) = shell.restart();
        assert_eq!(shell.points(), 5, "killed at operation {at}");
        shell.upsert(5);
        assert_eq!(shell.points(), 6);
        finished += u32::from(is_whole);
        if finished > 1 {
            return;
        }
    }
}
