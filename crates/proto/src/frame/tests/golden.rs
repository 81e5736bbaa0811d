//! One frame of every kind of message, byte by byte, against `golden.txt`: a line is a name and the bytes in hex. These bytes
//! may change only before a release reads them; afterwards a change adds tags and lines. `MERIDIAN_WRITE_GOLDEN=1` writes the
//! file.

use std::path::PathBuf;
use std::time::Duration;

use meridian_model::client::{Body, CollectionReport, Outcome, Refusal, Reply, ReplyBody};
use meridian_model::{
    Answer, BehaviorVersion, ClusterId, ConditionalChange, Found, Hlc, LogIndex, PointChange, PointId, PrimaryTerm,
    Query, RequestIndexes, Select, Seq, TableVersion, WriteId,
};

use super::super::*;
use crate::fixtures::*;
use crate::topology::{
    DiskLevel, FollowerStatus, KeysDigest, MembersAt, MemorySeen, PodStatus, PoisonSeen, RegionBehavior, ReplicaStatus,
    Role,
};

fn calls() -> Vec<(&'static str, Call)> {
    let (id, table, sent_at) = (WriteId(1 << 90), TableVersion(3), LogIndex(300));
    let matching = MatchQuery { collection: UID, table, filter: filter(), from: Some(PointId::Num(5)), limit: 1000 };
    let change = ConditionalChange { point: PointId::Num(5), seen: stamp(), change: PointChange::Delete };
    let read = |query| ShardCall::Read { collection: name(), query, demand: demand() };
    let indexes = RequestIndexes::new([0, 300]).unwrap();
    let shard_calls = [
        ("write", ShardCall::Write { id, table, sent_at, collection: name(), ops: ops(), indexes, trace: TRACE }),
        ("create", ShardCall::Create { id, sent_at, def: def() }),
        ("learn", ShardCall::Learn { uid: UID, def: def() }),
        ("drop", ShardCall::Drop { id, sent_at, name: name(), upto: Some(UID) }),
        ("resolve", ShardCall::Resolve(name())),
        ("search", read(search())),
        ("retrieve", read(Query::Retrieve { ids: vec![PointId::Num(5)], select: select() })),
        (
            "scroll",
            read(Query::Scroll { filter: None, from: Some(PointId::Num(5)), limit: 10, select: Select::default() }),
        ),
        ("count", read(Query::Count { filter: None })),
        ("list", ShardCall::List(ReadDemand::default())),
        ("describe", ShardCall::Describe(name(), ReadDemand::default())),
        ("definitions", ShardCall::Definitions),
        ("await", ShardCall::Await(covers())),
        ("match", ShardCall::Match(matching, demand())),
        (
            "conditional-write",
            ShardCall::ConditionalWrite {
                id,
                part: 1,
                table,
                collection: UID,
                read_at: sent_at,
                changes: vec![change],
                trace: None,
            },
        ),
    ];
    let mut calls: Vec<_> = shard_calls.map(|(name, call)| (name, Call::from(call))).into();
    calls.extend([
        ("tail-open", Call::Tail(TailCall::Open { after: POSITION, credit: 1 << 20 })),
        ("tail-credit", Call::Tail(TailCall::Credit(1 << 20))),
        ("tail-close", Call::Tail(TailCall::Close)),
        ("seed", Call::Tail(TailCall::Seed { at: Some(POSITION), after: Some((UID, PointId::Num(5))) })),
        ("chunk", Call::Chunk { snapshot: 7, file: "points.0".into(), offset: 1 << 20, len: 1 << 16 }),
        ("snapshot", Call::Snapshot { at_least: LogIndex(300) }),
        ("compare", Call::Compare { at: LogIndex(4096), hash: [7; 32] }),
        ("clock", Call::Clock),
        ("unsupported", Call::Unsupported(Unsupported::Kind("call"))),
    ]);
    calls
}

fn answers() -> Vec<(&'static str, CallAnswer)> {
    let part = |body| {
        let (age, took) = (Duration::from_millis(12), Duration::from_micros(300));
        ShardAnswer::Part(ReadPart { body, kept: true, waited: false, age, took, covers: covers() })
    };
    let answer = |answer| part(Some(PartBody::Answer { answer, smallest_first: true }));
    let seed_point = SeedPoint {
        collection: UID,
        point: PointId::Num(5),
        vectors: vectors(),
        payload: payload(),
        committed_at: Hlc(70),
        position: POSITION,
    };
    let page = SeedPage {
        at: POSITION,
        read_at: POSITION,
        largest_uid: UID,
        collections: vec![(UID, def())],
        points: vec![seed_point],
        next: Some((UID, PointId::Num(6))),
        origin_shards: 3,
    };
    let shard_answers = [
        ("written", ShardAnswer::Written(Seq(300), covers())),
        ("created", ShardAnswer::Created(UID, covers())),
        ("exists", ShardAnswer::Exists),
        ("dropped", ShardAnswer::Dropped { existed: true, upto: UID, covers: covers() }),
        ("resolved", ShardAnswer::Resolved(Some((UID, def())))),
        ("found", answer(Answer::Found(vec![Found { record: record(), score: 0.5 }]))),
        ("records", answer(Answer::Records(vec![record()]))),
        ("page", answer(Answer::Page(vec![], Some(PointId::Num(6))))),
        ("counted", answer(Answer::Count(300))),
        ("no-part", part(None)),
        ("wrong-query", part(Some(PartBody::Wrong("w".into())))),
        ("collections", part(Some(PartBody::Collections(vec![def()])))),
        ("collection", part(Some(PartBody::Collection { uid: UID, def: def(), points: 300, indexed: 256 }))),
        ("failed", part(Some(PartBody::Failed("f".into())))),
        (
            "matched",
            part(Some(PartBody::Matched {
                points: vec![(PointId::Num(5), stamp())],
                next: Some(PointId::Num(6)),
                read_at: LogIndex(300),
            })),
        ),
        ("match-not-owner", part(Some(PartBody::NotOwner(TableVersion(3))))),
        ("no-collection", ShardAnswer::NoCollection),
        ("wrong", ShardAnswer::Wrong("w".into())),
        ("not-leader", ShardAnswer::NotLeader(Some(ReplicaId(7)))),
        ("not-owner", ShardAnswer::NotOwner(TableVersion(3))),
        ("busy", ShardAnswer::Busy("b".into())),
        ("full", ShardAnswer::Full),
        ("definitions", ShardAnswer::Definitions { largest: UID, standing: vec![(UID, def())] }),
        ("reached", ShardAnswer::Reached(true)),
        ("conditional", ShardAnswer::Conditional { last: Seq(300), covers: covers(), retry: vec![1, 3] }),
        ("forgotten", ShardAnswer::Forgotten),
        ("overloaded", ShardAnswer::Overloaded("o".into())),
        ("stepped-down", ShardAnswer::SteppedDown),
        ("shard-unsupported", ShardAnswer::Unsupported("u".into())),
        ("shard-unknown", ShardAnswer::Unknown),
    ];
    let records =
        TailAnswer::Records { deltas: delta_bytes(), at: POSITION, complete: Some(statement()), origin_shards: 3 };
    let mut answers: Vec<_> = shard_answers.map(|(name, answer)| (name, CallAnswer::Shard(answer))).into();
    answers.extend([
        ("tail-records", CallAnswer::Tail(records)),
        ("tail-gone", CallAnswer::Tail(TailAnswer::Gone)),
        ("tail-unavailable", CallAnswer::Tail(TailAnswer::Unavailable)),
        ("seed-page", CallAnswer::Tail(TailAnswer::Seed(page))),
        ("chunk", CallAnswer::Chunk(Some(vec![1, 2, 3]))),
        ("snapshot", CallAnswer::Snapshot(Some(vec![4, 5]))),
        ("compared", CallAnswer::Compared(LogIndex(4096), Some([7; 32]))),
        ("clock", CallAnswer::Clock(Duration::new(1_700_000_000, 5))),
        ("unsupported", CallAnswer::Unsupported("u".into())),
        ("unknown", CallAnswer::Unknown),
    ]);
    answers
}

fn requests() -> Vec<(&'static str, Body)> {
    let collection = name();
    vec![
        ("create", Body::CreateCollection(def())),
        ("drop", Body::DropCollection(name())),
        ("list", Body::ListCollections),
        ("describe", Body::DescribeCollection(name())),
        ("write", Body::Write { collection: collection.clone(), ops: ops() }),
        ("delete-by-filter", Body::DeleteByFilter { collection: collection.clone(), filter: filter() }),
        ("read", Body::Read { collection, query: search() }),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let report = CollectionReport { uid: UID, def: def(), points: 300, indexed: 256, shards: 3, replicas: 3 };
    let refused = |refusal| reply(Err(refusal), Outcome::Failed);
    let reason = || String::from("r");
    vec![
        ("done", reply(Ok(ReplyBody::Done(true)), Outcome::Fresh)),
        ("collections", reply(Ok(ReplyBody::Collections(vec![def()])), Outcome::Waited)),
        ("collection", reply(Ok(ReplyBody::Collection(report)), Outcome::Redirected)),
        ("written", reply(Ok(ReplyBody::Written(300)), Outcome::Stale)),
        ("answer", reply(Ok(ReplyBody::Answer(Answer::Count(300))), Outcome::Fresh)),
        ("acknowledged", reply(Ok(ReplyBody::Acknowledged(300)), Outcome::Fresh)),
        ("bad-input", refused(Refusal::BadInput(reason()))),
        ("not-found", refused(Refusal::NotFound(reason()))),
        ("already-exists", refused(Refusal::AlreadyExists(reason()))),
        ("unavailable", refused(Refusal::Unavailable { shards: vec![shard(2)], reason: reason() })),
        ("overloaded", refused(Refusal::Overloaded(reason()))),
        ("too-stale", refused(Refusal::TooStale { staleness_ms: 300 })),
        ("misdirected", refused(Refusal::Misdirected { primary: region("ap"), term: PrimaryTerm(2) })),
        ("read-only", refused(Refusal::ReadOnly)),
        ("timeout", refused(Refusal::Timeout(Duration::from_secs(60)))),
        ("internal", refused(Refusal::Internal(reason()))),
        ("outcome-unknown", refused(Refusal::OutcomeUnknown(reason()))),
    ]
}

fn topology_calls() -> Vec<(&'static str, TopologyCall)> {
    let (replica, expected) = (ReplicaId(7), LogIndex(300));
    let group = MembersAt { applied: expected, members: vec![ReplicaId(1), ReplicaId(2)] };
    vec![
        ("status", TopologyCall::Status),
        ("bootstrap", TopologyCall::Bootstrap(identity())),
        ("join", TopologyCall::Join { identity: identity(), group }),
        ("add-learner", TopologyCall::AddLearner { member: member(), expected }),
        ("promote", TopologyCall::Promote { replica, expected }),
        ("remove", TopologyCall::Remove { replica, expected }),
        ("transfer-leader", TopologyCall::TransferLeader { to: replica }),
        ("set-links", TopologyCall::SetLinks { links: links(), expected }),
        ("finalize", TopologyCall::Finalize { version: BehaviorVersion(300) }),
        ("publish", TopologyCall::Publish { version: BehaviorVersion(300) }),
    ]
}

fn topology_answers() -> Vec<(&'static str, TopologyAnswer)> {
    let running = ReplicaStatus {
        role: Role::Leader,
        leader: Some(ReplicaId(7)),
        voters: vec![member()],
        learners: vec![member()],
        fault: Some("f".into()),
        followers: vec![FollowerStatus { replica: ReplicaId(8), matched: LogIndex(299), active: true }],
        points: 300,
        links: links(),
        links_version: LogIndex(40),
        poisons: vec![PoisonSeen { origin: origin(), fault: "p".into() }],
        disk: DiskLevel::Reserve,
        memory: Some(MemorySeen { used_bytes: 1 << 30, limit_bytes: 2 << 30, is_short: true }),
        ..ReplicaStatus::new(identity())
    };
    let finalized = ReplicaStatus {
        behavior: BehaviorVersion(4),
        published: BehaviorVersion(3),
        regions: vec![RegionBehavior { region: region("us"), behavior: BehaviorVersion(3) }],
        ..ReplicaStatus::new(identity())
    };
    let build = Some(build());
    let status = |pod| TopologyAnswer::Status { pod, keys: Some(KeysDigest([9; 32])), build: None };
    vec![
        ("blank", status(PodStatus::Blank)),
        ("damaged", status(PodStatus::Damaged { replica: Some(ReplicaId(7)), reason: "d".into() })),
        ("running", status(PodStatus::Running(Box::new(running)))),
        ("foreign", status(PodStatus::Foreign { identity: identity() })),
        ("newer", status(PodStatus::Newer { reason: "format version 9".into() })),
        ("finalized", TopologyAnswer::Status { pod: PodStatus::Running(Box::new(finalized)), keys: None, build }),
        ("done", TopologyAnswer::Done { version: LogIndex(300) }),
        ("started", TopologyAnswer::Started),
        ("not-leader", TopologyAnswer::NotLeader { leader: Some(ReplicaId(7)) }),
        ("conflict", TopologyAnswer::Conflict { version: LogIndex(300) }),
        ("refused", TopologyAnswer::Refused("r".into())),
        ("unknown", TopologyAnswer::Unknown),
    ]
}

fn build() -> Build {
    Build { release: "0.1.0".into(), ..Build::current() }
}

/// One frame of every kind, with its name.
pub fn frames() -> Vec<(String, Frame)> {
    let hello = Hello {
        cluster: ClusterId(1 << 120),
        region: region("us"),
        node: Some(NodeId { shard: shard(2), replica: ReplicaId(7) }),
        address: "a:8082".into(),
        build: build(),
    };
    let notice = DiskNotice { level: DiskLevel::Exhausted, quorum_has_space: true, handing_over: false };
    let mut frames = Vec::new();
    let mut add = |kind: &str, name: &str, frame| frames.push((format!("{kind}/{name}"), frame));
    add("frame", "hello", Frame::Hello(hello));
    add("frame", "proof", Frame::Proof([8; 32]));
    add("frame", "heartbeat", Frame::Heartbeat);
    add("frame", "unknown", Frame::Unknown);
    add("peer", "raft", Frame::Peer(PeerMessage::Raft(vec![1, 2, 3])));
    add("peer", "lead", super::lead());
    let complete = vec![(origin(), statement(), Duration::from_millis(12))];
    add("peer", "complete", Frame::Peer(PeerMessage::Complete(complete)));
    add("peer", "cancel", Frame::Peer(PeerMessage::Cancel(300)));
    add("peer", "disk", Frame::Peer(PeerMessage::Disk(notice)));
    for (name, call) in calls() {
        add("call", name, Frame::Peer(PeerMessage::Call(300, call)));
    }
    for (name, answer) in answers() {
        add("answer", name, Frame::Peer(PeerMessage::Answer(300, answer)));
    }
    for (name, body) in requests() {
        add("request", name, Frame::Region(RegionMessage::Call(300, RegionCall::from(request(body)))));
    }
    for (name, reply) in replies() {
        add("reply", name, Frame::Region(RegionMessage::Answer(300, RegionAnswer::Reply(reply))));
    }
    add("region", "behavior-call", Frame::Region(RegionMessage::Call(300, RegionCall::Behavior)));
    let behavior = RegionAnswer::Behavior(BehaviorVersion(300));
    add("region", "behavior", Frame::Region(RegionMessage::Answer(300, behavior)));
    add("region", "tail", Frame::Region(RegionMessage::Call(300, RegionCall::Tail(shard(2), TailCall::Close))));
    add("region", "gone", Frame::Region(RegionMessage::Answer(300, RegionAnswer::Tail(TailAnswer::Gone))));
    let (call, answer) = (RegionCall::Unsupported(Unsupported::Kind("call")), RegionAnswer::Unsupported("u".into()));
    add("region", "unsupported-call", Frame::Region(RegionMessage::Call(300, call)));
    add("region", "unsupported", Frame::Region(RegionMessage::Answer(300, answer)));
    add("region", "unknown", Frame::Region(RegionMessage::Answer(300, RegionAnswer::Unknown)));
    add("region", "cancel", Frame::Region(RegionMessage::Cancel(300)));
    for (name, call) in topology_calls() {
        add("topology", name, Frame::Topology(300, call));
    }
    add("topology", "unsupported", Frame::TopologyUnsupported(300, Unsupported::Kind("topology call")));
    for (name, answer) in topology_answers() {
        add("topology-answer", name, Frame::TopologyAnswer(300, answer));
    }
    frames
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_kind_of_frame_is_the_bytes_it_always_was() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/frame/tests/golden.txt");
    let lines: Vec<_> = frames().iter().map(|(name, frame)| format!("{name} {}", hex(&frame.encode()))).collect();
    if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (line, golden) in lines.iter().zip(golden.lines()) {
        assert_eq!(line, golden);
    }
    assert_eq!(lines.len(), golden.lines().count());
}

#[test]
fn every_kind_of_frame_is_decoded_to_what_was_encoded() {
    for (name, frame) in frames() {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame), "{name}");
    }
}
