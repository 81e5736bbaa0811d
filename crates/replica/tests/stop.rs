//! A process that stops: its last snapshot, what the next start applies again, and what a kill in the middle leaves. A group of
//! one replica on a simulated disk, and a shell that obeys at once, but for snapshots, which wait until a test lets them go on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meridian_model::{
    ClusterId, CollectionDef, CollectionName, Distance, HnswParams, LogIndex, Payload, PointId, PrimaryTerm,
    RegionName, ReplicaId, ShardNumber, VectorDef, Vectors, WriteId,
};
use meridian_replica::volume::{self, LogVolume, SnapshotVolume};
use meridian_replica::{Command, Event, Now, Replica, Settings};
use meridian_store::SimDisk;
use meridian_wire::client::{Body, Demand, PointOp, Request};
use meridian_wire::topology::{Genesis, Identity, Member};

const SEGMENT_BYTES: u64 = 1 << 20;

fn identity() -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let genesis = Genesis {
        cluster: ClusterId(1),
        region: region.clone(),
        shard: ShardNumber::FIRST,
        shards: 1,
        primary: region,
        primary_term: PrimaryTerm(1),
    };
    let founders = vec![Member { replica: ReplicaId(1), address: "here:1".into() }];
    Identity { genesis, replica: ReplicaId(1), founders, group: None }
}

struct Shell {
    disk: SimDisk,
    replica: Replica,
    log: LogVolume<SimDisk>,
    snapshots: SnapshotVolume<SimDisk>,
    now: Now,
    tickets: u64,
    /// Snapshots that are to be written.
    held: VecDeque<Command>,
    is_drained: bool,
    finished: Vec<(u64, bool)>,
}

impl Shell {
    fn open(disk: SimDisk, seconds: u64) -> Self {
        let (log, snapshots, found) = volume::open(&disk, &identity(), SEGMENT_BYTES).unwrap();
        let now = Now { mono: Duration::from_secs(seconds), wall: Duration::from_secs(1_000 + seconds) };
        let replica = Replica::restore(Settings::default(), identity(), now, 7 + seconds, found).unwrap();
        let (held, finished) = Default::default();
        Self { disk, replica, log, snapshots, now, tickets: seconds << 20, held, is_drained: false, finished }
    }

    /// Leads, and holds points that no snapshot holds.
    fn with_points(batches: u64) -> Self {
        let disk = SimDisk::new();
        volume::initialize(&disk, &identity(), SEGMENT_BYTES).unwrap();
        let mut shell = Self::open(disk, 0);
        shell.ticks(100);
        let name = CollectionName::new("words").unwrap();
        let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
        let def = CollectionDef { name, vectors: BTreeMap::from([(String::new(), vector)]) };
        shell.ask(Body::CreateCollection(def));
        (0..batches).for_each(|batch| shell.upsert(batch));
        assert_eq!(shell.points(), batches);
        shell
    }

    /// Kills the process and starts it again; says up to which entry its snapshot reaches.
    fn restart(self) -> (Self, LogIndex) {
        self.disk.kill();
        let mut shell = Self::open(self.disk, self.now.mono.as_secs() + 1);
        let applied = shell.replica.state().applied();
        shell.ticks(100);
        (shell, applied)
    }

    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.replica.step(self.now, event) {
                match command {
                    Command::Persist { number, records } => {
                        events.extend(self.log.persist(&[(number, records)]).unwrap());
                    }
                    Command::Release { before, shrink } => self.log.release(before, shrink).unwrap(),
                    command @ Command::TakeSnapshot { .. } => self.held.push_back(command),
                    Command::Drained => self.is_drained = true,
                    Command::Finished { entries_behind, is_abandoned } => {
                        self.finished.push((entries_behind, is_abandoned));
                    }
                    _ => {}
                }
            }
        }
    }

    fn ticks(&mut self, count: u64) {
        for random in 0..count {
            self.now.mono += Duration::from_millis(20);
            self.now.wall += Duration::from_millis(20);
            self.step(Event::Tick { random });
        }
    }

    fn ask(&mut self, body: Body) {
        self.tickets += 1;
        let (ticket, id) = (self.tickets, WriteId(u128::from(self.tickets) << 64));
        let timeout = Duration::from_secs(30);
        let request = Request { id, body, demand: Demand::default(), traceparent: None, timeout, wait: None };
        self.step(Event::Client { ticket, request });
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
        assert!(self.is_drained && self.finished.is_empty(), "a leader that is alone has nobody to hand over to");
        self.step(Event::Finish { within });
    }

    /// Writes the snapshot that waits.
    fn write_snapshot(&mut self) {
        let event = self.snapshots.obey(self.held.pop_front().unwrap()).unwrap();
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
    assert!(shell.finished.is_empty(), "it waits for the snapshot");
    shell.write_snapshot();
    assert_eq!(shell.finished, [(0, false)]);
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
    assert!(shell.held.is_empty());
    assert_eq!(shell.finished, [(0, false), (0, false)]);
}

#[test]
fn a_snapshot_that_does_not_end_in_time_is_abandoned_and_nothing_is_lost() {
    let mut shell = Shell::with_points(30);
    let behind = shell.replica.state().applied().0;
    shell.stop(Duration::from_millis(100));
    shell.ticks(4);
    assert!(shell.finished.is_empty());
    shell.ticks(1);
    assert_eq!(shell.finished, [(behind, true)]);
    let (shell, found) = shell.restart();
    assert!(found < LogIndex(behind), "there is no snapshot");
    assert_eq!(shell.points(), 30);
}

#[test]
fn without_time_no_snapshot_is_begun() {
    let mut shell = Shell::with_points(30);
    let behind = shell.replica.state().applied().0;
    shell.stop(Duration::ZERO);
    assert!(shell.held.is_empty());
    assert_eq!(shell.finished, [(behind, false)]);
}

/// The process is killed, or the power fails, at each operation of the disk while the last snapshot is written.
#[test]
fn a_kill_at_any_operation_of_the_last_snapshot_loses_nothing() {
    let mut finished = 0;
    for at in 1.. {
        let mut shell = Shell::with_points(5);
        shell.stop(Duration::from_secs(10));
        shell.disk.crash_at(at);
        let event = shell.snapshots.obey(shell.held.pop_front().unwrap()).unwrap();
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
