//! Frames: golden bytes, versions, damage.

mod golden;

use meridian_model::{LogIndex, Term};
use proptest::prelude::*;

use super::*;
use crate::topology::Member;

fn lead() -> Frame {
    let members = vec![Member { replica: ReplicaId(7), address: "a:8082".into() }];
    Frame::Peer(PeerMessage::Lead(Lead { term: Term(3), members, applied: LogIndex(5) }))
}

#[test]
fn version_four_stays_as_it_is() {
    let golden = [4, 2, 1, 3, 1, 7, 6, b'a', b':', b'8', b'0', b'8', b'2', 5];
    assert_eq!(lead().encode(), golden);
    assert_eq!(Frame::decode(&golden), Ok(lead()));
}

#[test]
fn a_frame_of_another_version_is_refused_by_name() {
    let mut bytes = lead().encode();
    bytes[0] = 9;
    assert_eq!(Frame::decode(&bytes).unwrap_err().to_string(), "frame of format version 9; this build reads version 4");
}

#[test]
fn a_truncated_or_overlong_frame_is_refused() {
    let bytes = lead().encode();
    for end in 0..bytes.len() {
        assert!(Frame::decode(&bytes[..end]).is_err());
    }
    assert!(Frame::decode(&[&bytes[..], &[0]].concat()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode(&[&[FRAME_VERSION], &bytes[..]].concat());
    }
}
