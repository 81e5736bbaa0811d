//! Frames: golden bytes, formats, damage, and messages of later releases.

mod golden;
mod later;
mod malformed;
mod wire;

use meridian_model::{LogIndex, Term};
use proptest::prelude::*;

use super::*;
use crate::topology::Member;

fn lead() -> Frame {
    let members = vec![Member { replica: ReplicaId(7), address: "a:8082".into() }];
    Frame::Peer(PeerMessage::Lead(Lead {
        term: Term(3),
        members,
        applied: LogIndex(5),
        behavior: BehaviorVersion::FIRST,
    }))
}

#[test]
fn a_frame_is_a_format_and_tagged_fields() {
    // 3 peer (18 bytes) { 2 lead (16) { 1 term 3, 2 members (10) { 1 replica 7, 2 address (6) }, 3 applied 5 } }
    let text = *b"a:8082";
    let golden = [&[5, 0x1a, 18, 0x12, 16, 8, 3, 0x12, 10, 8, 7, 0x12, 6], &text[..], &[0x18, 5]].concat();
    assert_eq!(lead().encode(), golden);
    assert_eq!(Frame::decode(&golden), Ok(lead()));
}

#[test]
fn a_raft_message_is_encoded_as_its_mirror_would_be() {
    for len in [0, 1, 127, 128, 20_000] {
        let frame = Frame::Peer(PeerMessage::Raft(vec![7; len]));
        let mut mirror = vec![FRAME_FORMAT];
        prost::Message::encode_raw(&crate::tagged::mirror(&frame), &mut mirror);
        assert_eq!(frame.encode(), mirror, "{len} bytes");
        assert_eq!(Frame::decode(&mirror), Ok(frame));
    }
}

#[test]
fn a_frame_of_another_format_is_refused_by_name() {
    let mut bytes = lead().encode();
    for format in [4, 9] {
        bytes[0] = format;
        let says = format!("frame of format {format}; release {RELEASE} reads format 5");
        assert_eq!(Frame::decode(&bytes).unwrap_err().to_string(), says);
    }
}

#[test]
fn a_frame_that_is_empty_truncated_or_too_long_is_refused() {
    assert_eq!(Frame::decode(&[]), Err(FrameError::Empty));
    let bytes = lead().encode();
    for end in 2..bytes.len() {
        assert!(Frame::decode(&bytes[..end]).is_err(), "{end} bytes");
    }
    assert_eq!(Frame::decode(&vec![5; FRAME_BYTES + 1]), Err(FrameError::TooLong(FRAME_BYTES + 1)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode(&[&[FRAME_FORMAT], &bytes[..]].concat());
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused_and_what_is_read_is_read_again(
        pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let frames = golden::frames();
        let mut bytes = pick.get(&frames).1.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(frame) = Frame::decode(&bytes) {
            let again = frame.encode();
            // Compared as bytes: a NaN is not equal to itself.
            prop_assert_eq!(Frame::decode(&again).unwrap().encode(), again);
        }
    }
}
