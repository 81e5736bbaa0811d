use super::*;
use crate::HardState;
use proptest::prelude::*;

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::TermStart),
        Just(EntryKind::Payload),
        (1u64..).prop_map(|id| EntryKind::Membership(Change::AddLearner(id))),
        (1u64..).prop_map(|id| EntryKind::Membership(Change::Promote(id))),
        (1u64..).prop_map(|id| EntryKind::Membership(Change::Remove(id))),
    ];
    (any::<u64>(), any::<u64>(), kind, prop::collection::vec(any::<u8>(), 1..50)).prop_map(
        |(index, term, kind, payload)| {
            let payload = if kind == EntryKind::TermStart { Bytes::new() } else { payload.into() };
            Entry { index, term, kind, payload }
        },
    )
}

proptest! {
    #[test]
    fn decode_undoes_encode(entry in entry()) {
        prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn entries_survive_the_conversion_to_the_library(entry in entry()) {
        prop_assert_eq!(Entry::from_raft(entry.clone().into_raft()), entry);
    }

    #[test]
    fn decoding_random_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes.clone());
        }
        if let Ok(state) = HardState::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }
}

#[test]
fn version_1_stays_readable() {
    let payload = Entry { index: 0x0102, term: 3, kind: EntryKind::Payload, payload: Bytes::from_static(b"ab") };
    assert_eq!(payload.encode(), *b"\x01\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0ab");
    let start = Entry { index: 2, term: 3, kind: EntryKind::TermStart, payload: Bytes::new() };
    assert_eq!(start.encode(), *b"\x01\x00\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
    for (tag, change) in [(2, Change::AddLearner(9)), (3, Change::Promote(9)), (4, Change::Remove(9))] {
        let entry = Entry { index: 2, term: 3, kind: EntryKind::Membership(change), payload: Bytes::from_static(b"c") };
        let mut golden = b"\x01\x00\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0c".to_vec();
        golden[1] = tag;
        assert_eq!(entry.encode(), golden);
    }
    let state = HardState { term: 1, vote: 2, commit: 3 };
    assert_eq!(state.encode(), *b"\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
}

#[test]
fn bytes_of_another_version_or_length_are_refused_by_name() {
    assert_eq!(Entry::decode(b"\x02"), Err(DecodeError::UnknownVersion { found: 2, known: 1 }));
    assert_eq!(HardState::decode(b"\x07"), Err(DecodeError::UnknownVersion { found: 7, known: 1 }));
    assert_eq!(Entry::decode(b""), Err(DecodeError::Truncated { wanted: 1, left: 0 }));
    let mut long = HardState::default().encode();
    long.push(0);
    assert_eq!(HardState::decode(&long), Err(DecodeError::Trailing(1)));
}
