use super::*;
use meridian_model::{Distance, HnswParams};
use proptest::prelude::*;

fn record(op: Op) -> Record {
    let origin = OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::new(2).unwrap() };
    let committed_at = Hlc(1_700_000_000_123 << 16 | 7);
    let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let delta = Delta { origin: origin.clone(), epoch: Epoch(1), seq: Seq(42), committed_at, op, trace };
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
fn schema_two_stays_as_it_is() {
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
        "kind=delta schema=2 origin=us-east shard=2 shards=2 epoch=1 seq=42 hlc=111411200008060935 \
         traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
    let value = |op| String::from_utf8(record(op).encode().value).unwrap();
    assert_eq!(
        value(Op::Delete { collection: CollectionUid(9), point: PointId::Num(5) }),
        r#"{"id":5,"op":"delete","ts":1700000000.123,"collection":"9"}"#
    );
    assert_eq!(value(Op::Nothing), r#"{"op":"none","ts":1700000000.123}"#);
}

#[test]
fn every_kind_comes_back() {
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
    let all = [
        record(upsert(Vectors::new(), "")),
        record(Op::Delete { collection: uid, point: PointId::Uuid(77) }),
        record(Op::CreateCollection { uid, def }),
        record(Op::CreateCollection { uid, def: inline }),
        record(Op::DropCollection { uid }),
        record(Op::Nothing),
        complete,
    ];
    for record in all {
        assert_eq!(decode(&record.encode()).as_ref(), Ok(&record));
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
    check(&|bad| bad.headers[1].1 = b"1".to_vec(), "schema 1 is not known to this version; schema 2 is");
    check(&|bad| bad.headers[3].1 = b"0".to_vec(), "header shard: \"0\" is not a shard number");
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
