//! What a replica does with calls, answers and deltas of later releases.

use std::time::Duration;

use meridian_model::client::{Body, Refusal, Reply};
use meridian_model::{
    BehaviorVersion, CollectionName, CollectionUid, Delta, Epoch, Filter, Hlc, Link, LogIndex, Op, OriginShard,
    Payload, PlayedRelease, PointId, Position, RegionName, ReplicaId, Seq, ShardNumber, Transport, WriteId, WriteRef,
};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{
    Call, CallAnswer, NodeId, PeerMessage, RegionAnswer, RegionCall, RegionMessage, ShardAnswer, ShardCall, TailAnswer,
    TailCall, Unsupported,
};
use meridian_proto::topology::TopologyCall;
use meridian_replica::{Command, Event, Peer, Settings};

use crate::shell::{Shell, region};

const OTHER: NodeId = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(2) };
const LATER: BehaviorVersion = BehaviorVersion(2);
const KIND: Unsupported = Unsupported::Kind("call");

/// A leader in eu-west; us-east takes the writes.
fn secondary() -> Shell {
    let mut shell = Shell::new("eu-west", "us-east", Settings::default(), Duration::from_secs(1_000));
    shell.step(Event::Connected(us_east()));
    shell.seen.clear();
    shell
}

fn us_east() -> Peer {
    Peer::Region(region("us-east"))
}

fn answered(shell: &Shell, number: u64) -> &CallAnswer {
    let answer = shell.seen.iter().find_map(|command| match command {
        Command::Send(OTHER, PeerMessage::Answer(held, answer)) if *held == number => Some(answer),
        _ => None,
    });
    answer.expect("no answer")
}

#[test]
fn a_call_of_another_replica_that_is_not_supported_is_answered_at_once() {
    let mut shell = secondary();
    shell.step(Event::Peer(OTHER, PeerMessage::Call(5, Call::Unsupported(KIND))));
    assert_eq!(*answered(&shell, 5), CallAnswer::Unsupported(KIND.to_string()));
    shell.step(Event::Peer(OTHER, PeerMessage::Call(6, Call::Shard(LATER, ShardCall::Definitions))));
    let why = Unsupported::Version(LATER).to_string();
    assert_eq!(*answered(&shell, 6), CallAnswer::Shard(ShardAnswer::Unsupported(why)));
}

#[test]
fn a_call_of_another_region_that_is_not_supported_is_answered_at_once() {
    let mut shell = secondary();
    let (_, event) = shell.request(Body::ListCollections);
    let Event::Client { request, .. } = event else { panic!("a request") };
    let calls = [RegionCall::Unsupported(KIND), RegionCall::Ask(LATER, request)];
    for (number, call) in (5..).zip(calls) {
        shell.step(Event::Region(Peer::Connection(9), RegionMessage::Call(number, call)));
    }
    let answer = |command: &Command| match command {
        Command::SendRegion(Peer::Connection(9), RegionMessage::Answer(number, RegionAnswer::Unsupported(why))) => {
            Some((*number, why.clone()))
        }
        _ => None,
    };
    let answers: Vec<_> = shell.seen.iter().filter_map(answer).collect();
    assert_eq!(answers, [(5, KIND.to_string()), (6, Unsupported::Version(LATER).to_string())]);
}

/// What a client of the secondary region hears of a change to which the primary region gives this answer.
fn refusal_after(answer: RegionAnswer) -> Refusal {
    let mut shell = secondary();
    let collection = CollectionName::new("words").unwrap();
    let (_, event) = shell.request(Body::DeleteByFilter { collection, filter: Filter::default() });
    shell.step(event);
    let sent = |command: &Command| match command {
        Command::SendRegion(_, RegionMessage::Call(number, RegionCall::Ask(BehaviorVersion::FIRST, _))) => {
            Some(*number)
        }
        _ => None,
    };
    let number = shell.seen.iter().find_map(sent).expect("sent to the primary region");
    shell.step(Event::Region(us_east(), RegionMessage::Answer(number, answer)));
    let reply = |command: &Command| match command {
        Command::Reply { reply: Reply { body: Err(refusal), .. }, .. } => Some(refusal.clone()),
        _ => None,
    };
    shell.seen.iter().find_map(reply).expect("a refusal at once")
}

#[test]
fn a_change_that_the_primary_region_does_not_support_did_not_happen() {
    let why = Unsupported::Version(LATER).to_string();
    let refusal = refusal_after(RegionAnswer::Unsupported(why.clone()));
    assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal:?}");
    assert_eq!(refusal.to_string(), format!("the primary region: {why}"));
}

#[test]
fn a_change_with_an_answer_of_an_unknown_kind_may_have_happened() {
    let refusal = refusal_after(RegionAnswer::Unknown);
    assert!(matches!(refusal, Refusal::OutcomeUnknown(_)), "{refusal:?}");
}

fn delta(source: &str, seq: u64) -> Delta {
    let op = Op::Delete { collection: CollectionUid(9), point: PointId::Num(seq) };
    let origin = OriginShard { region: region(source), shard: ShardNumber::FIRST };
    Delta {
        origin,
        epoch: Epoch(1),
        seq: Seq(seq),
        committed_at: Hlc(seq),
        op,
        write: WriteRef { id: WriteId(seq.into()), index: 0 },
        trace: None,
    }
}

/// A delta that needs a later behavior version.
fn later_delta() -> DeltaBytes {
    let [low, high] = LATER.0.to_le_bytes();
    vec![1, low, high, 99].into()
}

/// The newest call that opens the log of a region: its number, and behind which position.
fn opened(shell: &Shell, source: &RegionName) -> (u64, Position) {
    let open = |command: &Command| match command {
        Command::SendRegion(
            Peer::Region(held),
            RegionMessage::Call(number, RegionCall::Tail(_, TailCall::Open { after, .. })),
        ) if held == source => Some((*number, *after)),
        _ => None,
    };
    shell.seen.iter().rev().find_map(open).expect("the log is not opened")
}

/// Known to this build, and not finalized by this group.
fn unfinalized_delta(source: &str, seq: u64) -> DeltaBytes {
    let _next = PlayedRelease::knowing(LATER);
    let (collection, point) = (CollectionUid(9), PointId::Num(seq));
    let payload = Payload(r#"{"meridian.next":1}"#.into());
    let op = Op::Upsert { collection, point, vectors: [(String::new(), vec![1.0])].into(), payload };
    DeltaBytes::encode(&Delta { op, ..delta(source, seq) })
}

fn records(shell: &mut Shell, source: &str, call: u64, deltas: Vec<DeltaBytes>, newest: u64) {
    let at = Position { epoch: Epoch(1), seq: Seq(newest) };
    let answer = TailAnswer::Records { deltas, at, complete: None, origin_shards: 1 };
    shell.step(Event::Region(Peer::Region(region(source)), RegionMessage::Answer(call, RegionAnswer::Tail(answer))));
    shell.ticks(1);
}

fn applied(shell: &Shell, source: &str) -> u64 {
    let origin = OriginShard { region: region(source), shard: ShardNumber::FIRST };
    shell.replica.state().vv().position(&origin).seq.0
}

#[test]
fn a_delta_of_a_later_behavior_version_stops_its_own_link_until_it_can_be_decoded() {
    let mut shell = secondary();
    let link = |source| Link { source: region(source), transport: Transport::Direct, paused: false };
    let call = TopologyCall::SetLinks { links: vec![link("ap-south"), link("us-east")], expected: LogIndex(0) };
    shell.step(Event::Topology { ticket: 1, call });
    shell.ticks(5);
    let encoded = |source: &'static str, seqs: std::ops::RangeInclusive<u64>| {
        seqs.map(move |seq| DeltaBytes::encode(&delta(source, seq))).collect::<Vec<_>>()
    };

    let (call, _) = opened(&shell, &region("us-east"));
    let deltas = [encoded("us-east", 1..=2), vec![later_delta()], encoded("us-east", 4..=5)].concat();
    records(&mut shell, "us-east", call, deltas, 5);
    assert_eq!(applied(&shell, "us-east"), 2, "what stands before it is applied");
    let poisons = shell.replica.status().poisons;
    let text = "sequence 3: delta written by a newer release: behavior version 2, this build knows up to 1; run the newer release";
    assert_eq!(poisons.iter().map(|poison| poison.fault.as_str()).collect::<Vec<_>>(), [text]);

    let (call, _) = opened(&shell, &region("ap-south"));
    records(&mut shell, "ap-south", call, encoded("ap-south", 1..=3), 3);
    assert_eq!(applied(&shell, "ap-south"), 3, "the other link goes on");

    shell.ticks(60);
    let (call, after) = opened(&shell, &region("us-east"));
    assert_eq!(after.seq, Seq(2), "asked for again");
    let next = PlayedRelease::knowing(LATER);
    records(&mut shell, "us-east", call, vec![unfinalized_delta("us-east", 3)], 3);
    assert_eq!(applied(&shell, "us-east"), 2);
    let poisons = shell.replica.status().poisons;
    let text = "sequence 3: the change needs behavior version 2; this region has finalized 1";
    assert_eq!(poisons.iter().map(|poison| poison.fault.as_str()).collect::<Vec<_>>(), [text]);
    drop(next);
    shell.ticks(60);
    let (call, after) = opened(&shell, &region("us-east"));
    assert_eq!(after.seq, Seq(2), "asked for again");
    records(&mut shell, "us-east", call, encoded("us-east", 3..=5), 5);
    assert_eq!(applied(&shell, "us-east"), 5);
}
