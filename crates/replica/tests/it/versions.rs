//! What a later release wrote into the log of a replica, and epochs that begin.

use std::time::Duration;

use meridian_model::client::{Body, PointOp, Refusal};
use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, Distance, Epoch, HnswParams, LogIndex, Payload, PlayedRelease,
    PointId, Position, Seq, ShardNumber, VectorDef,
};
use meridian_proto::frame::{RegionAnswer, RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use meridian_replica::{Command, Event, Peer, Settings};
use meridian_shard::{Entry, FORMAT_VERSION};

use crate::shell::{Shell, region};

const START: Duration = Duration::from_secs(1_700_000_000);

fn shell() -> Shell {
    Shell::new("us", "us", Settings::default(), START)
}

fn words() -> CollectionName {
    CollectionName::new("words").unwrap()
}

fn write(shell: &mut Shell, body: Body) {
    let (_, event) = shell.request(body);
    shell.step(event);
    let replied = |command: &Command| matches!(command, Command::Reply { reply, .. } if reply.body.is_ok());
    assert!(shell.seen.drain(..).any(|command| replied(&command)), "it is answered at once");
}

fn upsert(shell: &mut Shell, points: std::ops::Range<u64>) {
    let op = |point| {
        let vectors = [(String::new(), vec![1.0])].into();
        PointOp::Upsert { point: PointId::Num(point), vectors, payload: Payload::default() }
    };
    write(shell, Body::Write { collection: words(), ops: points.map(op).collect() });
}

#[test]
fn a_replica_stops_before_an_entry_of_a_later_release_and_its_log_stays() {
    let newest = BehaviorVersion::newest();
    let next = newest.next();
    let needs = [&[FORMAT_VERSION][..], &next.0.to_le_bytes(), b"of tomorrow"].concat();
    let behavior = format!("behavior version {next}, this build knows up to {newest}");
    let format = format!("format version {}, this build reads up to {FORMAT_VERSION}", FORMAT_VERSION + 1);
    for (payload, versions) in
        [(needs, &behavior), (Entry::Version(next).encode(), &behavior), (vec![FORMAT_VERSION + 1, 0xff], &format)]
    {
        let mut shell = shell();
        let index = shell.restart_with_entry(payload.clone());
        let says =
            format!("VersionUnknown: log entry {index}: written by a newer release: {versions}; run the newer release");
        // Once more: nothing was thrown away, and nothing behind the entry was applied.
        for _ in 0..2 {
            shell.ticks(200);
            let status = shell.replica.status();
            assert_eq!((status.fault.as_deref(), status.ready), (Some(says.as_str()), false));
            assert_eq!(status.applied, LogIndex(index - 1));
            let positions_read =
                shell.seen.drain(..).filter(|command| matches!(command, Command::OutOfService(why) if *why == says));
            assert_eq!(positions_read.count(), 1);
            assert_eq!(shell.payload_at(index), payload, "the entry is still in the log");
            shell.restart();
        }
    }
}

const NEXT: BehaviorVersion = BehaviorVersion(2);

fn call(shell: &mut Shell, call: TopologyCall) -> TopologyAnswer {
    shell.seen.clear();
    shell.step(Event::Topology { ticket: 9, call });
    let answer = |command| match command {
        Command::TopologyReply { ticket: 9, answer } => Some(answer),
        _ => None,
    };
    shell.seen.drain(..).find_map(answer).expect("a group of one commits at once")
}

/// What a client hears of an upsert that needs the next version; nothing when it is written.
fn write_next(shell: &mut Shell) -> Option<String> {
    let vectors = [(String::new(), vec![1.0])].into();
    let payload = Payload(r#"{"meridian.next":1}"#.into());
    let op = PointOp::Upsert { point: PointId::Num(1), vectors, payload };
    let (_, event) = shell.request(Body::Write { collection: words(), ops: vec![op] });
    shell.seen.clear();
    shell.step(event);
    let body = |command| match command {
        Command::Reply { reply, .. } => Some(reply.body),
        _ => None,
    };
    let body = shell.seen.drain(..).find_map(body).expect("it is answered at once");
    body.err().map(|refusal| {
        assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal:?}");
        refusal.to_string()
    })
}

#[test]
fn a_write_of_the_next_version_waits_until_it_is_finalized_and_published() {
    let _next = PlayedRelease::knowing(NEXT);
    let settings = Settings { other_regions: vec![region("eu-west")], snapshot_every: 5, ..Settings::default() };
    let mut shell = Shell::new("us", "us", settings, START);
    let vectors = [(String::new(), VectorDef { dim: 1, distance: Distance::Dot, hnsw: HnswParams::default() })].into();
    write(&mut shell, Body::CreateCollection(CollectionDef { name: words(), vectors }));
    let text =
        "the request needs behavior version 2; region us has finalized 1: run \"meridian upgrade finalize <cluster>\"";
    assert_eq!(write_next(&mut shell).as_deref(), Some(text));
    let refused = call(&mut shell, TopologyCall::Publish { version: NEXT });
    assert!(matches!(refused, TopologyAnswer::Refused(_)), "{refused:?}");
    assert!(matches!(call(&mut shell, TopologyCall::Finalize { version: NEXT }), TopologyAnswer::Done { .. }));
    let waits = write_next(&mut shell).unwrap();
    assert!(waits.ends_with("waiting for eu-west to finalize it, then for the operator to publish it"), "{waits}");
    assert!(matches!(call(&mut shell, TopologyCall::Publish { version: NEXT }), TopologyAnswer::Done { .. }));
    assert_eq!(write_next(&mut shell), None);
    let status = shell.replica.status();
    assert_eq!((status.behavior, status.published), (NEXT, NEXT));
    // From the snapshot and from the log.
    shell.ticks(100);
    assert!(shell.replica.counters().snapshots_taken > 0);
    shell.restart();
    shell.ticks(100);
    let status = shell.replica.status();
    assert_eq!((status.behavior, status.published, status.fault), (NEXT, NEXT, None));
}

#[test]
fn a_release_that_lacks_the_finalized_version_does_not_start_on_the_groups_log() {
    let mut shell = shell();
    {
        let _next = PlayedRelease::knowing(NEXT);
        assert!(matches!(call(&mut shell, TopologyCall::Finalize { version: NEXT }), TopologyAnswer::Done { .. }));
    }
    shell.restart();
    shell.ticks(200);
    let fault = shell.replica.status().fault.expect("it stops");
    assert!(fault.starts_with("VersionUnknown: log entry"), "{fault}");
}

#[test]
fn another_region_hears_what_every_shard_has_finalized() {
    let _next = PlayedRelease::knowing(NEXT);
    let mut shell = shell();
    let mut ask = || {
        shell.seen.clear();
        shell.step(Event::Region(Peer::Connection(5), RegionMessage::Call(3, RegionCall::Behavior)));
        let answer = |command| match command {
            Command::SendRegion(Peer::Connection(5), RegionMessage::Answer(3, RegionAnswer::Behavior(version))) => {
                Some(version)
            }
            _ => None,
        };
        let heard = shell.seen.drain(..).find_map(answer).expect("an answer");
        call(&mut shell, TopologyCall::Finalize { version: NEXT });
        heard
    };
    assert_eq!((ask(), ask()), (BehaviorVersion::FIRST, NEXT));
}

/// Opens the delta log behind a position, and says what came.
fn read(shell: &mut Shell, after: (u32, u64)) -> Vec<TailAnswer> {
    let after = Position { epoch: Epoch(after.0), seq: Seq(after.1) };
    let call = RegionCall::Tail(ShardNumber::FIRST, TailCall::Open { after, credit: 1 << 30 });
    shell.tickets += 1;
    shell.seen.clear();
    let message = RegionMessage::Call(shell.tickets, call);
    shell.step(Event::Region(Peer::Connection(5), message));
    let answer = |command| match command {
        Command::SendRegion(_, RegionMessage::Answer(_, RegionAnswer::Tail(answer))) => Some(answer),
        _ => None,
    };
    shell.seen.drain(..).filter_map(answer).collect()
}

/// The positions of deltas, message by message; of a message without any, where it says that the log stands.
fn positions(answers: &[TailAnswer]) -> Vec<Vec<(u32, u64)>> {
    let pair = |position: Position| (position.epoch.0, position.seq.0);
    let message = |answer: &TailAnswer| match answer {
        TailAnswer::Records { deltas, at, .. } if deltas.is_empty() => vec![pair(*at)],
        TailAnswer::Records { deltas, .. } => {
            deltas.iter().map(|delta| pair(delta.decode().unwrap().position())).collect()
        }
        other => panic!("{other:?}"),
    };
    answers.iter().map(message).collect()
}

#[test]
fn the_delta_log_is_read_across_its_epochs() {
    let mut shell = shell();
    let vectors = [(String::new(), VectorDef { dim: 1, distance: Distance::Dot, hnsw: HnswParams::default() })].into();
    write(&mut shell, Body::CreateCollection(CollectionDef { name: words(), vectors }));
    upsert(&mut shell, 0..2);
    shell.restart_with_entry(Entry::BeginEpoch { epoch: Epoch(2) }.encode());
    shell.ticks(100);
    // An epoch without a change is told of by where the log stands.
    assert_eq!(positions(&read(&mut shell, (1, 3)))[0], [(2, 0)]);
    shell.restart_with_entry(Entry::BeginEpoch { epoch: Epoch(3) }.encode());
    shell.ticks(100);
    upsert(&mut shell, 2..4);
    for restarts in [false, true] {
        if restarts {
            shell.restart();
            shell.ticks(100);
        }
        for after in [(0, 0), (1, 0)] {
            let positions_read = positions(&read(&mut shell, after));
            assert_eq!(positions_read[..2], [vec![(1, 1), (1, 2), (1, 3)], vec![(3, 1), (3, 2)]], "{after:?}");
        }
        assert_eq!(positions(&read(&mut shell, (1, 2)))[..2], [vec![(1, 3)], vec![(3, 1), (3, 2)]]);
        for after in [(1, 3), (2, 0), (3, 0)] {
            assert_eq!(positions(&read(&mut shell, after))[0], [(3, 1), (3, 2)], "{after:?}");
        }
        // Beyond the end of an epoch that is over: not of this log. Ahead of this replica: it is the slow one.
        for (after, answer) in [
            ((1, 4), TailAnswer::Gone),
            ((2, 1), TailAnswer::Gone),
            ((3, 3), TailAnswer::Unavailable),
            ((4, 0), TailAnswer::Unavailable),
        ] {
            assert_eq!(read(&mut shell, after), [answer], "{after:?}");
        }
    }
}
