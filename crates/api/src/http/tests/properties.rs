//! Properties of all parsers: no panic, and no change of values.

use proptest::prelude::*;

use super::*;

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bodies that look like bodies: known names, wrong values.
fn bodies() -> impl Strategy<Value = String> {
    let names = [
        "points",
        "id",
        "vector",
        "query",
        "filter",
        "must",
        "key",
        "match",
        "value",
        "nearest",
        "batch",
        "ids",
        "vectors",
        "size",
        "distance",
        "limit",
        "offset",
        "with_payload",
        "has_id",
        "range",
        "searches",
        "params",
    ];
    json_values()
        .prop_recursive(4, 32, 4, move |inner| {
            prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..4).prop_map(|entries| {
                Value::Object(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
            })
        })
        .prop_map(|value| value.to_string())
}

fn feed_all(bytes: &[u8]) {
    let limits = Limits::default();
    let _ = create_collection(CollectionName::new("c").unwrap(), bytes, &SHAPE, &limits);
    let _ = (upsert(bytes, &limits), delete(bytes, &limits), retrieve(bytes, &limits), scroll(bytes, &limits));
    let _ = (count(bytes, &limits), query(bytes, &limits), query_batch(bytes, &limits), legacy_search(bytes, &limits));
}

proptest! {
    #[test]
    fn no_body_makes_a_parser_panic(body in bodies(), raw in prop::collection::vec(any::<u8>(), 0..60)) {
        feed_all(body.as_bytes());
        feed_all(&raw);
    }

    #[test]
    fn a_payload_keeps_its_values(value in prop::collection::btree_map(".{0,6}", json_values(), 1..4)) {
        let value = Value::Object(value.into_iter().collect());
        let ops = upserted(&json!({"points": [{"id": 1, "vector": [1], "payload": value}]}).to_string()).unwrap();
        let PointOp::Upsert { payload, .. } = &ops[0] else { panic!() };
        prop_assert_eq!(serde_json::from_str::<Value>(&payload.0).unwrap(), value);
        let again = upserted(&format!(r#"{{"points":[{{"id":1,"vector":[1],"payload":{}}}]}}"#, &payload.0)).unwrap();
        prop_assert_eq!(&again, &ops, "the canonical form is its own canonical form");
    }

    #[test]
    fn a_vector_keeps_its_bits(vector in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL, 1..20)) {
        let text = serde_json::to_string(&vector).unwrap();
        let ops = upserted(&format!(r#"{{"points":[{{"id":1,"vector":{text}}}]}}"#)).unwrap();
        let PointOp::Upsert { vectors, .. } = &ops[0] else { panic!() };
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&vectors[""]), bits(&vector));
    }
}
