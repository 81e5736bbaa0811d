//! What a wrong wall clock does to one replica: nothing to its writes, and nothing good to its answers about age.

use std::time::Duration;

use meridian_model::client::{Body, PointOp, Reply};
use meridian_model::{CollectionDef, CollectionName, Distance, HnswParams, Payload, PointId, VectorDef};
use meridian_replica::{Command, Event, Settings};

use crate::shell;

/// What the wall clock shows at the start.
const START: Duration = Duration::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// A primary region with a collection.
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
    fn new() -> Self {
        let mut shell = Self(shell::Shell::new("us-east", "us-east", Settings::default(), START));
        let hnsw = HnswParams::default();
        let vectors = [(String::new(), VectorDef { dim: 1, distance: Distance::Dot, hnsw })].into();
        let name = CollectionName::new("words").unwrap();
        shell.ask(Body::CreateCollection(CollectionDef { name, vectors })).body.unwrap();
        shell
    }

    fn ask(&mut self, body: Body) -> Reply {
        let reply = |command| match command {
            Command::Reply { reply, .. } => Some(reply),
            _ => None,
        };
        self.seen.clear();
        let (_, event) = self.request(body);
        self.step(event);
        self.seen.drain(..).find_map(reply).expect("answered at once")
    }

    fn write(&mut self) {
        let vectors = [(String::new(), vec![1.0])].into();
        let op = PointOp::Upsert { point: PointId::Num(1), vectors, payload: Payload::default() };
        let body = Body::Write { collection: CollectionName::new("words").unwrap(), ops: vec![op] };
        self.ask(body).body.expect("a write is taken whatever the clock says");
    }
}

#[test]
fn a_clock_that_was_ahead_stops_no_write() {
    let mut shell = Shell::new();
    let mut last = shell.replica.state().last_hlc();
    for wall in [START + HOUR, START, START + 24 * HOUR, START, Duration::MAX - HOUR, START] {
        shell.now.wall = wall;
        // Longer than it takes to believe the step.
        shell.ticks(200);
        shell.write();
        let stamp = shell.replica.state().last_hlc();
        assert!(stamp > last, "order only grows: {last} was followed by {stamp}");
        last = stamp;
    }
}

#[test]
fn a_step_makes_staleness_unknown_for_three_seconds_and_stops_no_write() {
    let mut shell = Shell::new();
    let own = shell.replica.state().origin().clone();
    shell.ticks(10);
    assert!(shell.replica.staleness_of(&own) < Duration::from_millis(100));
    for step in [HOUR, 2 * HOUR] {
        shell.now.wall = START + step;
        shell.ticks(145);
        shell.write();
        assert_eq!(shell.replica.staleness_of(&own), Duration::MAX);
        assert!(shell.replica.clock_fault().unwrap().contains("clock stepped (maxDrift 500ms)"));
        shell.ticks(20);
        assert!(shell.replica.staleness_of(&own) < Duration::from_millis(100));
        assert_eq!(shell.replica.clock_fault(), None);
    }
}

#[test]
fn a_boot_clock_that_stood_still_makes_everything_older() {
    let mut shell = Shell::new();
    let own = shell.replica.state().origin().clone();
    shell.ticks(10);
    let before = shell.replica.staleness_of(&own);
    // The machine was suspended for 400 ms, and only its wall clock knows.
    shell.now.wall += Duration::from_millis(400);
    shell.step(Event::FreeBytes(u64::MAX));
    assert!(shell.replica.staleness_of(&own) >= before + Duration::from_millis(400));
}
