use meridian_model::{Hlc, HnswParams, OriginShard, WriteId, WriteRef};
use proptest::prelude::*;

use super::*;
use crate::fixture::{Shard, create, def, delete, drop_op, upsert, write};

fn shard() -> Shard {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a"), create(2, "b"), drop_op(2)]));
    shard
}

fn point(change: impl FnOnce(&mut Vectors, &mut Payload)) -> Op {
    let Op::Upsert { collection, point, mut vectors, mut payload } = upsert(1, 5, 2, 2) else { panic!() };
    change(&mut vectors, &mut payload);
    Op::Upsert { collection, point, vectors, payload }
}

#[test]
fn each_fault_of_a_write_is_named() {
    let shard = shard();
    let id = PointId::Num(5);
    let check = |op: Op, expected: OpError| assert_eq!(shard.state.check_write(&[op]), Err(expected));
    assert_eq!(
        shard.state.check_write(&[upsert(1, 5, 2, 2), delete(1, 6), create(3, "c"), upsert(3, 1, 1, 1)]),
        Ok(())
    );
    check(upsert(9, 5, 1, 1), OpError::UnknownCollection(CollectionUid(9)));
    check(delete(2, 5), OpError::UnknownCollection(CollectionUid(2)));
    let set = |name: &str, vector: Vec<f32>| point(|vectors, _| drop(vectors.insert(name.into(), vector)));
    check(set("", vec![1.0]), OpError::Dimension { expected: 2, found: 1 });
    check(set("x", vec![1.0]), OpError::UnknownVector("x".into()));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check(set("", vec![1.0, bad]), OpError::NotFinite { point: id, name: String::new(), element: 1 });
    }
    for long in [vec![3e38, 0.0], vec![-1.5e19, 1.5e19], vec![6.6e18, 0.0]] {
        let found = shard.state.check_write(&[set("", long.clone())]);
        assert!(matches!(found, Err(OpError::TooLong { .. })), "{long:?}: {found:?}");
    }
    assert_eq!(shard.state.check_write(&[set("", vec![6.5e18, 0.0])]), Ok(()));
    check(point(|vectors, _| drop(vectors.remove(""))), OpError::MissingVector(id));
    assert_eq!(shard.state.check_write(&[point(|vectors, _| drop(vectors.remove("other")))]), Ok(()));
    for bad in ["[1]", "{", "7", "{} {}"] {
        check(point(|_, payload| payload.0 = bad.into()), OpError::Payload(id));
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES));
    check(
        point(|_, payload| payload.0 = long.as_str().into()),
        OpError::PayloadTooLong { point: id, bytes: long.len() },
    );
}

#[test]
fn each_fault_of_a_definition_is_named() {
    let shard = shard();
    let check = |op: Op, expected: OpError| assert_eq!(shard.state.check_write(&[op]), Err(expected));
    let name = CollectionName::new("a").unwrap();
    check(create(3, "a"), OpError::NameTaken(name));
    check(create(1, "c"), OpError::UidTaken(CollectionUid(1)));
    check(create(2, "b"), OpError::UidTaken(CollectionUid(2)));
    assert_eq!(shard.state.check_write(&[create(1, "a")]), Ok(()));
    let with = |change: fn(&mut VectorDef)| {
        let mut def = def("c", Distance::Dot);
        change(def.vectors.get_mut("").unwrap());
        Op::CreateCollection { uid: CollectionUid(3), def }
    };
    let range =
        |parameter, value, least, most| OpError::Parameter { name: String::new(), parameter, value, least, most };
    check(with(|def| def.dim = 0), range("dimension", 0, 1, 65_536));
    check(with(|def| def.hnsw.m = 3), range("m", 3, 4, 128));
    check(with(|def| def.hnsw = HnswParams { ef_construct: 5000, ..def.hnsw }), range("ef_construct", 5000, 8, 4096));
    let mut empty = def("c", Distance::Dot);
    empty.vectors.clear();
    check(Op::CreateCollection { uid: CollectionUid(3), def: empty }, OpError::VectorCount(0));
}

#[test]
fn a_point_of_another_shard_is_refused() {
    let mut shard = Shard::new("us", 1, 2);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    let refused = (0..50).filter(|n| shard.state.check_write(&[delete(1, *n)]).is_err()).count();
    assert!((10..40).contains(&refused), "{refused}");
}

#[test]
fn a_poison_delta_is_named_by_its_sequence_and_a_dead_collection_is_no_fault() {
    let shard = shard();
    let origin = OriginShard { region: "eu".parse().unwrap(), shard: meridian_model::ShardNumber::FIRST };
    let epoch = meridian_model::Epoch(1);
    let delta = |seq, op| {
        let (seq, committed_at, write) = (Seq(seq), Hlc(seq), WriteRef { id: WriteId(7), index: 0 });
        Delta { origin: origin.clone(), epoch, seq, committed_at, op, write, trace: None }
    };
    let bad = point(|vectors, _| drop(vectors.insert(String::new(), vec![1.0])));
    assert_eq!(shard.state.check_remote(&[delta(1, upsert(9, 1, 1, 1)), delta(2, upsert(2, 1, 1, 1))]), Ok(()));
    let found = shard.state.check_remote(&[delta(1, upsert(1, 1, 1, 1)), delta(2, bad)]);
    assert_eq!(found, Err((Seq(2), OpError::Dimension { expected: 2, found: 1 })));
    let Op::Upsert { point, vectors, payload, .. } = upsert(1, 1, 1, 1) else { panic!() };
    let mut short = vectors;
    short.insert("other".into(), vec![]);
    let op = Op::Upsert { collection: CollectionUid(5), point, vectors: short, payload };
    let found = shard.state.check_remote(&[delta(1, create(5, "new")), delta(2, op)]);
    assert_eq!(found, Err((Seq(2), OpError::Dimension { expected: 3, found: 0 })));
    let far = Delta { committed_at: Hlc(u64::MAX), ..delta(1, upsert(9, 1, 1, 1)) };
    assert_eq!(shard.state.check_remote(&[far]), Err((Seq(1), OpError::Stamp(Hlc(u64::MAX)))), "no room to count on");
    let (needs, finalized) = (BehaviorVersion(2), BehaviorVersion::FIRST);
    let later = self::point(|_, payload| *payload = Payload(r#"{"meridian.next":1}"#.into()));
    let found = shard.state.check_remote(&[delta(1, upsert(1, 1, 1, 1)), delta(2, later.clone())]);
    assert_eq!(found, Err((Seq(2), OpError::Version { needs, finalized })));
    let _next = meridian_model::PlayedRelease::knowing(needs);
    let mut shard = shard;
    shard.commit(crate::Entry::Version(needs));
    assert_eq!(shard.state.check_remote(&[delta(2, later)]), Ok(()));
}

proptest! {
    #[test]
    fn a_normalized_vector_has_length_one_and_the_zero_vector_stays(
        vector in prop::collection::vec(prop_oneof![-1e30f32..1e30, -1f32..1.0, Just(0.0), Just(1e-44)], 1..70),
    ) {
        let mut scaled = vector.clone();
        normalize(&mut scaled);
        let length = scaled.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if vector.iter().all(|x| *x == 0.0) {
            prop_assert_eq!(length, 0.0);
        } else {
            prop_assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    }
}

/// Golden: the bits that a leader writes must not depend on the machine or the build.
#[test]
fn normalization_is_bitwise_unchanged() {
    let mut vector = [1.0f32, 2.0, 3.0, -0.1, 1e-3];
    normalize(&mut vector);
    assert_eq!(vector.map(f32::to_bits), GOLDEN);
}

const GOLDEN: [u32; 5] = [0x3e88c9f6, 0x3f08c9f6, 0x3f4d2ef1, 0xbcdadcbd, 0x398c1265];
