//! Messages of later releases: what is skipped, and what must not be.

use meridian_model::BehaviorVersion;

use super::super::*;
use super::golden::frames;
use super::wire::{add, bytes, number, replace, set};

/// Tag of a field or kind that only a later release knows.
const LATER: u32 = 900;

/// Tags from the outside in.
const CALL: [u32; 2] = [3, 3];
const SHARD: [u32; 3] = [3, 3, 2];
const ANSWER: [u32; 2] = [3, 4];
const ASK: [u32; 3] = [4, 1, 2];

fn frame(name: &str) -> (Frame, Vec<u8>) {
    let (_, frame) = frames().into_iter().find(|(held, _)| held == name).unwrap_or_else(|| panic!("no frame {name}"));
    let encoded = frame.encode();
    (frame, encoded)
}

/// A message of a kind that only a later release knows, behind these fields.
fn of_a_later_kind(fields: &[u8]) -> Vec<u8> {
    [fields, &bytes(LATER, b"later")].concat()
}

fn numbered() -> Vec<u8> {
    // The number 300 as 8 bytes: key 1 << 3 | 1.
    [&[9], &300u64.to_le_bytes()[..]].concat()
}

#[test]
fn fields_that_a_later_release_adds_are_skipped() {
    let later = [number(LATER, 7), bytes(LATER + 1, b"later")].concat();
    for (name, frame) in frames() {
        assert_eq!(Frame::decode(&add(&frame.encode(), &[], &later)), Ok(frame), "{name}");
    }
    let check = |name: &str, path: &[u32]| {
        let (frame, encoded) = frame(name);
        for end in 0..=path.len() {
            assert_eq!(Frame::decode(&add(&encoded, &path[..end], &later)).as_ref(), Ok(&frame), "{name} {path:?}");
        }
    };
    check("frame/hello", &[1, 5]);
    check("peer/lead", &[3, 2, 2]);
    check("peer/complete", &[3, 5, 1, 2, 1]);
    check("call/write", &[3, 3, 2, 2, 5, 1, 2]);
    check("call/search", &[3, 3, 2, 7, 2, 1, 3, 1, 1]);
    check("answer/found", &[3, 4, 2, 6, 1, 1, 1, 1, 1, 1]);
    check("answer/tail-records", &[3, 4, 3, 1, 2]);
    check("request/write", &[4, 1, 2, 2, 12, 2]);
    check("reply/collection", &[4, 2, 2, 1, 3, 2, 2, 4]);
    check("topology/join", &[5, 4, 1, 8]);
    check("topology-answer/running", &[6, 2, 1, 3, 15]);
}

#[test]
fn a_message_of_a_later_kind_is_ignored() {
    for encoded in [
        of_a_later_kind(&[FRAME_FORMAT]),
        replace(&frame("peer/cancel").1, &[3], &of_a_later_kind(&[])),
        replace(&frame("region/cancel").1, &[4], &of_a_later_kind(&[])),
        // A level of disks, too, is a kind.
        set(&frame("peer/disk").1, &[3, 7], 1, &number(1, 9)),
    ] {
        assert_eq!(Frame::decode(&encoded), Ok(Frame::Unknown));
    }
}

#[test]
fn a_call_of_a_later_kind_keeps_its_number() {
    let check = |name: &str, path: &[u32], by: &[u8], noun: &'static str| {
        let why = Unsupported::Kind(noun);
        let expected = match frame(name).0 {
            Frame::Peer(PeerMessage::Call(number, _)) => Frame::Peer(PeerMessage::Call(number, Call::Unsupported(why))),
            Frame::Region(RegionMessage::Call(number, _)) => {
                Frame::Region(RegionMessage::Call(number, RegionCall::Unsupported(why)))
            }
            Frame::Topology(number, _) => Frame::TopologyUnsupported(number, why),
            other => panic!("{other:?}"),
        };
        assert_eq!(Frame::decode(&replace(&frame(name).1, path, by)), Ok(expected), "{name}");
    };
    check("call/clock", &CALL, &of_a_later_kind(&numbered()), "call");
    check("call/list", &SHARD, &of_a_later_kind(&number(1, 1)), "shard call");
    check("call/tail-open", &[3, 3, 3], &of_a_later_kind(&[]), "call to the delta log");
    check("request/list", &[4, 1], &of_a_later_kind(&numbered()), "call");
    check("region/tail", &[4, 1, 3, 2], &of_a_later_kind(&[]), "call to the delta log");
    check("topology/promote", &[5], &of_a_later_kind(&numbered()), "topology call");
    let text = format!("not supported by release {RELEASE}: it does not know this kind of condition");
    assert_eq!(Unsupported::Kind("condition").to_string(), text);
}

#[test]
fn an_answer_of_a_later_kind_fails_its_call() {
    let check = |name: &str, path: &[u32], by: &[u8], expected: Frame| {
        assert_eq!(Frame::decode(&replace(&frame(name).1, path, by)), Ok(expected), "{name}");
    };
    let peer = |answer| Frame::Peer(PeerMessage::Answer(300, answer));
    let region = |answer| Frame::Region(RegionMessage::Answer(300, answer));
    check("answer/clock", &ANSWER, &of_a_later_kind(&numbered()), peer(CallAnswer::Unknown));
    let unknown = peer(CallAnswer::Shard(ShardAnswer::Unknown));
    check("answer/full", &[3, 4, 2], &of_a_later_kind(&[]), unknown.clone());
    check("answer/found", &[3, 4, 2, 6, 1], &of_a_later_kind(&[]), unknown);
    let unavailable = TailAnswer::Unavailable;
    check("answer/tail-gone", &[3, 4, 3], &of_a_later_kind(&[]), peer(CallAnswer::Tail(unavailable.clone())));
    check("region/gone", &[4, 2, 3], &of_a_later_kind(&[]), region(RegionAnswer::Tail(unavailable)));
    check("region/gone", &[4, 2], &of_a_later_kind(&numbered()), region(RegionAnswer::Unknown));
    check("reply/read-only", &[4, 2, 2, 2], &of_a_later_kind(&[]), region(RegionAnswer::Unknown));
    let unknown = Frame::TopologyAnswer(300, TopologyAnswer::Unknown);
    check("topology-answer/done", &[6], &of_a_later_kind(&numbered()), unknown.clone());
    check("topology-answer/blank", &[6, 2, 1], &of_a_later_kind(&[]), unknown);
}

#[test]
fn a_condition_or_change_of_a_later_kind_refuses_the_whole_request() {
    let check = |name: &str, path: &[u32], noun: &'static str| {
        let decoded = Frame::decode(&replace(&frame(name).1, path, &of_a_later_kind(&[]))).unwrap();
        let why = Unsupported::Kind(noun);
        let expected = match &decoded {
            Frame::Peer(_) => Frame::Peer(PeerMessage::Call(300, Call::Unsupported(why))),
            _ => Frame::Region(RegionMessage::Call(300, RegionCall::Unsupported(why))),
        };
        assert_eq!(decoded, expected, "{name} {path:?}");
    };
    check("call/match", &[3, 3, 2, 12, 3, 1], "condition");
    check("call/match", &[3, 3, 2, 12, 3, 1, 1, 2], "value of a condition");
    check("call/write", &[3, 3, 2, 2, 5], "change of a point");
    check("call/write", &[3, 3, 2, 2, 5, 1, 1], "point id");
    check("call/conditional-write", &[3, 3, 2, 13, 6], "change of a point");
    check("call/search", &[3, 3, 2, 7, 2], "query");
    check("call/search", &[3, 3, 2, 7, 2, 1, 9], "selection of payload fields");
    check("request/delete-by-filter", &[4, 1, 2, 2, 13, 2, 3], "condition");
    check("request/write", &[4, 1, 2, 2, 12, 2], "change of a point");
    // Enumerations are kinds too.
    let later = set(&frame("call/create").1, &[3, 3, 2, 3, 3, 2], 3, &number(3, 9));
    let refused = Call::Unsupported(Unsupported::Kind("distance"));
    assert_eq!(Frame::decode(&later), Ok(Frame::Peer(PeerMessage::Call(300, refused))));
}

#[test]
fn a_request_that_needs_a_later_behavior_version_is_refused_by_both_versions() {
    let needs = BehaviorVersion::newest().next();
    let why = Unsupported::Version(needs);
    let version = number(1, needs.0.into());
    let call = Frame::Peer(PeerMessage::Call(300, Call::Unsupported(why)));
    let ask = Frame::Region(RegionMessage::Call(300, RegionCall::Unsupported(why)));
    assert_eq!(Frame::decode(&set(&frame("call/match").1, &SHARD, 1, &version)), Ok(call.clone()));
    assert_eq!(Frame::decode(&set(&frame("request/delete-by-filter").1, &ASK, 1, &version)), Ok(ask));
    // Whatever else it holds.
    let later = of_a_later_kind(&version);
    assert_eq!(Frame::decode(&replace(&frame("call/match").1, &SHARD, &later)), Ok(call));
    let text = format!("the request needs behavior version 2; release {RELEASE} knows versions up to 1");
    assert_eq!(why.to_string(), text);
}

#[test]
fn a_seed_page_that_needs_a_later_behavior_version_is_not_taken() {
    let later = set(&frame("answer/seed-page").1, &[3, 4, 3, 4], 8, &number(8, 2));
    let unavailable = CallAnswer::Tail(TailAnswer::Unavailable);
    assert_eq!(Frame::decode(&later), Ok(Frame::Peer(PeerMessage::Answer(300, unavailable))));
}

#[test]
fn a_hello_of_a_build_that_speaks_later_protocols_is_read() {
    let later = set(&frame("frame/hello").1, &[1, 5], 2, &number(2, 9));
    let later = add(&set(&later, &[1, 5], 1, &number(1, 8)), &[1], &bytes(LATER, b"later"));
    let Ok(Frame::Hello(hello)) = Frame::decode(&later) else { panic!("not read") };
    assert_eq!(hello.build.protocols, Protocols { oldest: 8, newest: 9 });
    assert!(Build::current().protocols.common(hello.build.protocols).is_err());
}
