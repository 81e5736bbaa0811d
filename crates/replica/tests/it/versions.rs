//! What a later release wrote into the log of a replica, and epochs that begin.

use std::time::Duration;

use meridian_model::client::{Body, PointOp};
use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, Distance, Epoch, HnswParams, LogIndex, Payload, PointId, Position,
    Seq, ShardNumber, VectorDef,
};
use meridian_proto::frame::{RegionAnswer, RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_replica::{Command, Event, Peer, Settings};
use meridian_shard::{Entry, FORMAT_VERSION};

use crate::shell::Shell;

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
