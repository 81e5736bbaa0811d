use super::*;
use meridian_model::{Distance, HnswParams};
use proptest::prelude::*;

fn record(op: Op) -> Record {
    let origin = OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::new(2).unwrap() };
    let committed_at = Hlc(1_700_000_000_123 << 16 | 7);
    let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let write = WriteRef { id: WriteId(0x1234 << 64 | 7), index: 3 };
    let delta = Delta { origin: origin.clone(), epoch: Epoch(1), seq: Seq(42), committed_at, op, write, trace };
    Record { origin, origin_shards: 2, body: Body::Delta(delta) }
}

fn upsert(vectors: Vectors, payload: &str) -> Op {
    Op::Upsert { collection: CollectionUid(9), point: PointId::Num(5), vectors, payload: Payload(payload.into()) }
}

fn decode(encoded: &Encoded) -> Result<Record, RecordError> {
    let header = |name: &str| encoded.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_slice());
    Record::decode(header, &encoded.value)
}

#[test]
fn schema_three_stays_as_it_is() {
    let vectors = [(String::new(), vec![0.1, -2.0]), ("title".into(), vec![1e-8])].into();
    let encoded = record(upsert(vectors, r#"{"a":1,"b":"x"}"#)).encode();
    assert_eq!(
        String::from_utf8(encoded.value).unwrap(),
        r#"{"id":5,"op":"upsert","ts":1700000000.123,"collection":"9","embedding":[0.1,-2.0],"#.to_owned()
            + r#""vectors":{"title":[1e-8]},"payload":{"a":1,"b":"x"}}"#
    );
    let headers: Vec<String> =
        encoded.headers.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
    assert_eq!(
        headers.join(" "),
        "kind=delta schema=3 needs=1 origin=us-east shard=2 shards=2 epoch=1 seq=42 hlc=111411200008060935 \
         write=00000000-0000-1234-0000-000000000007 index=3 \
         traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
    let value = |op| String::from_utf8(record(op).encode().value).unwrap();
    assert_eq!(
        value(Op::Delete { collection: CollectionUid(9), point: PointId::Num(5) }),
        r#"{"id":5,"op":"delete","ts":1700000000.123,"collection":"9"}"#
    );
    assert_eq!(value(Op::Nothing), r#"{"op":"none","ts":1700000000.123}"#);
}

fn kinds() -> Vec<Record> {
    let def = CollectionDef {
        name: CollectionName::new("words").unwrap(),
        vectors: [(String::new(), VectorDef { dim: 3, distance: Distance::Cosine, hnsw: HnswParams::default() })]
            .into(),
    };
    let uid = CollectionUid(1 << 60);
    let mut inline = def.clone();
    inline.vectors.values_mut().for_each(|vector| {
        vector.hnsw.inline_storage = true;
        vector.hnsw.full_scan_threshold = 7;
    });
    let through = Position { epoch: Epoch(1), seq: Seq(3) };
    let statement = Statement { through, term: Term(4), wall: WallMillis(1_700_000_000_123) };
    let complete = Record { body: Body::Complete(statement), ..record(Op::DropCollection { uid }) };
    vec![
        record(upsert(Vectors::new(), "")),
        record(upsert([(String::new(), vec![0.1, -2.0]), ("title".into(), vec![1e-8])].into(), r#"{"a":1,"b":"x"}"#)),
        record(Op::Delete { collection: uid, point: PointId::Uuid(77) }),
        record(Op::CreateCollection { uid, def }),
        record(Op::CreateCollection { uid, def: inline }),
        record(Op::DropCollection { uid }),
        record(Op::Nothing),
        complete,
    ]
}

#[test]
fn every_kind_comes_back() {
    for record in kinds() {
        assert_eq!(decode(&record.encode()).as_ref(), Ok(&record));
    }
}

fn set(record: &mut Encoded, header: &str, value: &str) {
    let held = record.headers.iter_mut().find(|(name, _)| *name == header).expect("the header is written");
    held.1 = value.as_bytes().to_vec();
}

/// Headers and value of each kind, against `golden-schema-3.txt`: a change of these bytes needs a new schema.
/// `MERIDIAN_WRITE_GOLDEN=1` writes the file.
#[test]
fn records_are_the_bytes_they_always_were() {
    let text = |record: &Record| {
        let Encoded { headers, value } = record.encode();
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
        format!("{} {}", headers.join(" "), String::from_utf8(value).unwrap())
    };
    let found: Vec<String> = kinds().iter().map(text).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/record/golden-schema-3.txt");
    if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
        std::fs::write(path, found.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, golden.lines().collect::<Vec<_>>());
}

#[test]
fn a_record_of_a_newer_release_is_refused_by_its_versions() {
    let good = record(upsert(Vectors::new(), "")).encode();
    for (header, value, expected) in [
        (
            "schema",
            "4",
            "written by a newer release: format version 4, this build reads up to 3; run the newer release",
        ),
        (
            "needs",
            "2",
            "written by a newer release: behavior version 2, this build knows up to 1; run the newer release",
        ),
    ] {
        let mut newer = good.clone();
        set(&mut newer, header, value);
        // Its value may be of a kind that this version does not know.
        newer.value = b"{\"op\":\"patch\"}".to_vec();
        let refused = decode(&newer).unwrap_err();
        assert!(matches!(refused, RecordError::VersionUnknown(_)), "{refused:?}");
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn poison_is_named() {
    let good = record(upsert(Vectors::new(), "")).encode();
    let check = |change: &dyn Fn(&mut Encoded), expected: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(decode(&bad).unwrap_err().to_string(), expected);
    };
    check(&|bad| bad.headers.retain(|(name, _)| *name != "seq"), "header seq is missing");
    check(&|bad| set(bad, "schema", "2"), "schema 2 is not read by this version; schema 3 is");
    check(&|bad| set(bad, "schema", "x"), "schema x is not read by this version; schema 3 is");
    check(&|bad| set(bad, "shard", "0"), "header shard: \"0\" is not a shard number");
    check(&|bad| set(bad, "write", "7"), "header write: \"7\" is not a UUID");
    check(&|bad| set(bad, "index", "-1"), "header index: \"-1\" is not a number");
    check(&|bad| set(bad, "needs", ""), "header needs: \"\" is not a number");
    check(&|bad| bad.headers.retain(|(name, _)| *name != "index"), "header index is missing");
    check(&|bad| bad.headers[0].1 = b"x".to_vec(), "header kind: \"x\" is not delta, complete or collection");
    check(
        &|bad| bad.value = br#"{"id":"x","op":"delete","ts":1,"collection":"1"}"#.to_vec(),
        "value: id \"x\" is no UUID",
    );
    check(
        &|bad| bad.value = br#"{"id":1,"op":"delete","ts":1,"collection":"c"}"#.to_vec(),
        "value: collection \"c\" is no uid",
    );
    check(&|bad| bad.value = br#"{"op":"delete","ts":1,"collection":"1"}"#.to_vec(), "value: missing field `id`");
    check(&|bad| bad.value = br#"{"id":1,"op":"delete","ts":1}"#.to_vec(), "value: missing field `collection`");
}

proptest! {
    #[test]
    fn vectors_keep_their_bits(vector in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..20)) {
        let sent = record(upsert([(String::new(), vector)].into(), ""));
        prop_assert_eq!(decode(&sent.encode()), Ok(sent));
    }

    #[test]
    fn any_value_is_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..3) {
        let mut encoded = record(upsert(Vectors::new(), "")).encode();
        encoded.headers[0].1 = ["delta", "complete", "collection"][kind].into();
        encoded.value = value;
        let _ = decode(&encoded);
    }
}
