use super::*;
use crate::entry::{Change, EntryKind};

fn append() -> Message {
    let entries = vec![
        Entry { index: 6, term: 2, kind: EntryKind::Payload, payload: Bytes::from_static(b"p") }.into_raft(),
        Entry { index: 7, term: 3, kind: EntryKind::Membership(Change::Promote(4)), payload: Bytes::new() }.into_raft(),
    ];
    let mut message = Message { to: 1, from: 2, term: 3, log_term: 2, index: 5, commit: 4, ..Default::default() };
    message.msg_type = MessageType::MsgAppend;
    message.entries = entries.into();
    message
}

#[test]
fn version_1_stays_readable() {
    let mut golden = b"\x01\x01\x00".to_vec();
    for number in [1u64, 2, 3, 2, 5, 4, 0, 0] {
        golden.extend_from_slice(&number.to_le_bytes());
    }
    golden.extend_from_slice(b"\x02\0\0\0");
    golden.extend_from_slice(b"\x12\0\0\0\x01\x06\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0p");
    golden.extend_from_slice(b"\x19\0\0\0\x03\x07\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0");
    assert_eq!(encode(&append()).unwrap(), golden);
    assert_eq!(decode(&golden).unwrap(), append());
}

#[test]
fn a_snapshot_offer_survives_the_wire() {
    let members = Members { voters: [1, 2].into(), learners: [3].into() };
    let offer = Snapshot { index: 9, term: 2, members, manifest: Bytes::from_static(b"files") };
    let mut message = Message { to: 3, from: 1, term: 2, snapshot: Some(offer.to_raft()).into(), ..Default::default() };
    message.msg_type = MessageType::MsgSnapshot;
    let decoded = decode(&encode(&message).unwrap()).unwrap();
    assert_eq!(Snapshot::from_raft(decoded.get_snapshot()), offer);
}

#[test]
fn inconsistent_messages_are_refused() {
    let refused = |lie: fn(&mut Message)| {
        let mut message = append();
        lie(&mut message);
        matches!(decode(&encode(&message).unwrap()), Err(DecodeError::Invalid(_)))
    };
    assert!(!refused(|_| {}));
    assert!(refused(|m| m.from = 0));
    assert!(refused(|m| m.term = 0));
    assert!(refused(|m| m.index = 4), "a gap before the entries");
    assert!(refused(|m| m.log_term = 0), "the library would append beyond its log");
    assert!(refused(|m| m.term = 2), "an entry newer than its leader");
    assert!(refused(|m| m.entries[1].term = 1), "falling terms");
    assert!(refused(|m| m.commit = u64::MAX));
}

#[test]
fn every_prefix_is_truncated_and_every_suffix_trails() {
    let whole = encode(&append()).unwrap();
    for len in 0..whole.len() {
        assert!(matches!(decode(&whole[..len]), Err(DecodeError::Truncated { .. })), "{len}");
    }
    assert_eq!(decode(&[whole, vec![0]].concat()), Err(DecodeError::Trailing(1)));
}

#[test]
fn proposals_and_local_messages_do_not_travel() {
    for kind in [MessageType::MsgPropose, MessageType::MsgHup, MessageType::MsgTransferLeader] {
        let mut message = append();
        message.msg_type = kind;
        assert_eq!(encode(&message), None);
    }
}

#[test]
fn a_read_is_split_from_its_number() {
    let message = |kind: MessageType, number: u64| {
        let read = ReadContext { id: 2, incarnation: 7, context: number }.encode();
        let mut message = Message { to: 1, from: 2, term: 3, ..Default::default() };
        message.msg_type = kind;
        if kind == MessageType::MsgReadIndexResp {
            message.entries = vec![eraftpb::Entry { data: read.into(), ..Default::default() }].into();
        } else {
            message.context = read.into();
        }
        encode(&message).unwrap()
    };
    for kind in [MessageType::MsgHeartbeat, MessageType::MsgHeartbeatResponse, MessageType::MsgReadIndexResp] {
        let (one, other) = (message(kind, 5), message(kind, 6));
        assert_ne!(one, other);
        assert_eq!(split_read_number(&one).0, split_read_number(&other).0);
        assert_eq!(split_read_number(&one).1, Some((2, 5)));
    }
    let append = encode(&append()).unwrap();
    assert_eq!(split_read_number(&append), (append.as_slice(), None));
}
