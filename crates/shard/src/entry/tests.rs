use meridian_model::{PlayedRelease, ShardNumber, Topic, Transport, WriteId};
use proptest::prelude::*;

use super::*;
use crate::fixture::{actions, create, delete, delete_if, drop_op, origin, region, upsert, write};

const NEXT: BehaviorVersion = BehaviorVersion(2);

fn entries() -> Vec<Entry> {
    let origin = origin("us", 2);
    let at = Position { epoch: Epoch(1), seq: Seq(7) };
    let stamp = Stamp { hlc: Hlc(70), origin: origin.clone(), epoch: Epoch(1), seq: Seq(7) };
    let seen = stamp.clone();
    let trace = Some(Traceparent { trace: 0xaf76, span: 0xb7ad, flags: 1 });
    let (epoch, committed_at) = (Epoch(1), Hlc(70));
    let write_ref = |index| WriteRef { id: WriteId(0x77), index };
    let delta = |seq, op| {
        let write = write_ref(u32::try_from(seq).unwrap());
        Delta { origin: origin.clone(), epoch, seq: Seq(seq), committed_at, op, write, trace }
    };
    let Op::Upsert { vectors, payload, .. } = upsert(1, 5, 2, 3) else { panic!() };
    let point = SeedPoint { collection: CollectionUid(1), point: PointId::Uuid(1 << 100), vectors, payload, stamp };
    let seed = |step| Entry::Seed { origin: origin.clone(), step };
    let Op::CreateCollection { uid, def } = create(1, "words") else { panic!() };
    let mut first = write(9, 1 << 40, vec![create(1, "words"), upsert(1, 5, 2, 3), delete(1, 5), drop_op(1)]);
    if let Entry::Write(write) = &mut first {
        write.indexes = RequestIndexes::new([2, 3, 7, 8]).unwrap();
    }
    vec![
        first,
        Entry::RemoteBatch(RemoteBatch {
            origin: origin.clone(),
            epoch: Epoch(1),
            from: Seq(7),
            to: Seq(9),
            deltas: vec![delta(7, upsert(1, 5, -1, 3)), delta(9, delete(1, 5))],
            origin_shards: 2,
            source: SourcePosition::Kafka { partition: 1, offset: 1234 },
        }),
        seed(SeedStep::Begin { at, largest_uid: CollectionUid(1) }),
        seed(SeedStep::Chunk { collections: vec![(uid, def)], points: vec![point], read_at: at }),
        seed(SeedStep::Commit { position: at, origin_shards: 2 }),
        Entry::Topology(Topology {
            expects: TableVersion(1),
            table: BucketTable::even(2).unwrap(),
            term: PrimaryTerm(1),
            primary: region("us"),
        }),
        Entry::Checksum { at: LogIndex(4096), hash: [7; 32] },
        Entry::Version(BehaviorVersion::FIRST),
        Entry::Noop,
        Entry::Links(Links {
            expects: LogIndex(3),
            links: vec![
                Link { source: region("us"), transport: Transport::Direct, paused: true },
                Link {
                    source: region("ap"),
                    transport: Transport::Kafka(Topic { bootstrap_servers: "a:9092".into(), name: "ap.deltas".into() }),
                    paused: false,
                },
            ],
        }),
        delete_if(9, 1 << 40, 1, 5, vec![(5, seen.clone()), (6, Stamp { seq: Seq(8), ..seen })]),
        Entry::BeginEpoch { epoch: Epoch(2) },
        Entry::Publish(NEXT),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Golden: a log written by this version must stay readable. Never regenerate it once version 3 is released: a change
/// of an entry is a new kind with a later behavior version, or a new format version. `MERIDIAN_WRITE_GOLDEN=1` writes
/// the file.
#[test]
fn the_encoding_of_entries_is_unchanged() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/entry/golden-v3.txt");
    let found: Vec<_> = entries().iter().map(|entry| hex(&entry.encode())).collect();
    if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
        std::fs::write(path, found.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, golden.lines().collect::<Vec<_>>());
}

#[test]
fn an_entry_of_a_newer_release_is_refused_by_name() {
    let bytes = Entry::Noop.encode();
    let mut format = bytes.clone();
    format[0] = FORMAT_VERSION + 1;
    let unknown = VersionUnknown::format(FORMAT_VERSION + 1, FORMAT_VERSION);
    assert_eq!(Entry::decode(&format), Err(unknown.into()));
    // The following bytes do not matter: a newer format may be entirely different.
    assert_eq!(Entry::decode(&format[..1]), Err(unknown.into()));
    let mut needs = bytes;
    needs[1..3].copy_from_slice(&0x0102_u16.to_le_bytes());
    let unknown = VersionUnknown::check(BehaviorVersion(0x0102)).unwrap_err();
    assert_eq!(Entry::decode(&needs), Err(unknown.into()));
    needs.push(99);
    assert_eq!(Entry::decode(&needs), Err(unknown.into()), "before the kind of the entry is looked at");
    assert_eq!(
        DecodeError::from(unknown).to_string(),
        "written by a newer release: behavior version 258, this build knows up to 1; run the newer release"
    );
}

#[test]
fn only_publishing_a_version_needs_a_later_one_than_the_first() {
    for entry in entries() {
        let (needs, head) = match entry {
            Entry::Publish(_) => (NEXT, [3, 2, 0]),
            _ => (BehaviorVersion::FIRST, [3, 1, 0]),
        };
        assert_eq!((entry.needs(), &entry.encode()[..3]), (needs, &head[..]), "{entry:?}");
    }
    assert_eq!(
        Entry::Publish(BehaviorVersion::FIRST).needs(),
        NEXT,
        "builds that know the first version lack the kind"
    );
    assert_eq!(Entry::Publish(BehaviorVersion(7)).needs(), BehaviorVersion(7));
}

#[test]
fn an_entry_needs_what_its_changes_need() {
    let Op::Upsert { collection, point, vectors, .. } = upsert(1, 5, 2, 3) else { panic!() };
    let payload = Payload(r#"{"meridian.next":1}"#.into());
    let (origin, epoch) = (origin("us", 1), Epoch(1));
    let stamp = Stamp { hlc: Hlc(7), origin: origin.clone(), epoch, seq: Seq(1) };
    let at = Position { epoch, seq: Seq(1) };
    let seeded = SeedPoint { collection, point, vectors: vectors.clone(), payload: payload.clone(), stamp };
    let op = Op::Upsert { collection, point, vectors, payload };
    let write_ref = WriteRef { id: WriteId(1), index: 0 };
    let (seq, committed_at) = (Seq(1), Hlc(7));
    let delta =
        Delta { origin: origin.clone(), epoch, seq, committed_at, op: op.clone(), write: write_ref, trace: None };
    let source = SourcePosition::Direct;
    let step = SeedStep::Chunk { collections: Vec::new(), points: vec![seeded], read_at: at };
    for entry in [
        write(9, 1 << 40, vec![delete(1, 4), op]),
        Entry::RemoteBatch(RemoteBatch {
            origin: origin.clone(),
            epoch,
            from: seq,
            to: seq,
            deltas: vec![delta],
            origin_shards: 1,
            source,
        }),
        Entry::Seed { origin, step },
    ] {
        assert_eq!(entry.needs(), NEXT, "{entry:?}");
    }
}

#[test]
fn decode_undoes_encode() {
    let _next = PlayedRelease::knowing(NEXT);
    for entry in entries() {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}

/// Definitions without these parameters are encoded as before the parameters existed, which the golden entries check.
#[test]
fn inline_storage_and_another_threshold_come_back() {
    let Op::CreateCollection { uid, mut def } = create(1, "words") else { panic!() };
    for threshold in [10_000, 0, u32::MAX] {
        def.vectors.values_mut().for_each(|vector| {
            vector.hnsw.inline_storage = true;
            vector.hnsw.full_scan_threshold = threshold;
        });
        let entry = write(9, 1 << 40, vec![Op::CreateCollection { uid, def: def.clone() }, delete(1, 5)]);
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}

#[test]
fn bytes_that_are_no_entry_are_refused_with_a_reason() {
    let bytes = write(1, 10, vec![delete(1, 2)]).encode();
    let check = |bytes: &[u8], expected| assert_eq!(Entry::decode(bytes), Err(expected));
    check(&[], DecodeError::Empty);
    check(&[1, 7], DecodeError::Version(1));
    check(&[&bytes[..], &[0]].concat(), DecodeError::Trailing(1));
    let Entry::Write(mut skips) = write(1, 10, vec![delete(1, 2)]) else { panic!() };
    skips.indexes = RequestIndexes::new([1, 7]).unwrap();
    check(&Entry::Write(skips).encode(), DecodeError::Indexes(1));
    let Entry::ConditionalWrite(mut far) = delete_if(1, 10, 1, 1, vec![]) else { panic!() };
    far.part = MAX_CONDITIONAL_PART + 1;
    check(&Entry::ConditionalWrite(far).encode(), DecodeError::Indexes(0));
    for cut in 1..bytes.len() {
        assert!(matches!(Entry::decode(&bytes[..cut]), Err(DecodeError::Malformed(_))), "{cut}");
    }
    // A table of 1 shard without a single run: its look-up has no result.
    let topology = entries().swap_remove(5);
    let mut broken = topology.encode();
    let table = postcard::to_stdvec(&BucketTable::even(2).unwrap()).unwrap();
    let at = broken.windows(table.len()).position(|window| window == table).unwrap();
    broken.splice(at..at + table.len(), [1, 1, 0]);
    check(&broken, DecodeError::BucketTable(1));
}

proptest! {
    #[test]
    fn invalid_bytes_are_an_error_without_side_effects(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        bytes.splice(0..0, [FORMAT_VERSION, 1, 0]);
        // Either result is correct; a panic or a disproportionate allocation is not.
        let _ = Entry::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_another_entry(nth in 0usize..13, bit in any::<prop::sample::Index>()) {
        let _next = PlayedRelease::knowing(NEXT);
        let entry = entries().swap_remove(nth);
        let mut bytes = entry.encode();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Entry::decode(&bytes) {
            // Applying the result must not panic either.
            let mut state = crate::fixture::state("eu", 1, 2);
            state.apply(LogIndex(1), &other);
        }
    }

    #[test]
    fn the_deltas_of_a_shard_equal_its_log(actions in actions(40)) {
        let mut region = crate::fixture::Region::new("us", 1);
        region.run(&actions);
        let shard = &region.shards[0];
        let target = crate::fixture::state("eu", 1, 1);
        let batch = shard.batch(Seq(1), usize::MAX, &target);
        prop_assert_eq!(batch.to.next(), shard.state.next_seq());
        let seqs: Vec<_> = batch.deltas.iter().map(|delta| delta.seq.0).collect();
        prop_assert_eq!(seqs, (1..shard.state.next_seq().0).collect::<Vec<_>>());
        prop_assert!(batch.deltas.is_sorted_by_key(|delta| delta.committed_at));
        prop_assert_eq!(ShardNumber::FIRST, batch.origin.shard);
    }
}
