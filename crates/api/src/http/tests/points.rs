//! Bodies about points: upsert and delete.

use super::*;

#[test]
fn points_are_read_as_a_list_and_in_columns() {
    let list = r#"{"points": [
        {"id": 1, "vector": [0.1, 2], "payload": {"b": 1, "a": {"d": 1.5, "c": [null, 18446744073709551615]}}},
        {"id": "F47AC10B-58CC-4372-A567-0E02B2C3D479", "vector": {"image": [1], "text": [2]}, "payload": {}}
    ], "update_mode": "upsert"}"#;
    let batch = r#"{"batch": {"ids": [1, 2], "vectors": {"image": [[1], [3]]}, "payloads": [null, {"a": 1}]}}"#;
    let ops = upserted(list).unwrap();
    let PointOp::Upsert { vectors, payload, .. } = &ops[0] else { panic!() };
    assert_eq!(vectors[""], [0.1, 2.0]);
    assert_eq!(&*payload.0, r#"{"a":{"c":[null,18446744073709551615],"d":1.5},"b":1}"#);
    let PointOp::Upsert { vectors, payload, point } = &ops[1] else { panic!() };
    assert_eq!(vectors.keys().collect::<Vec<_>>(), ["image", "text"]);
    assert!(payload.is_empty());
    assert_eq!(point.to_string(), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
    let ops = upserted(batch).unwrap();
    let PointOp::Upsert { vectors, payload, .. } = &ops[1] else { panic!() };
    assert_eq!((vectors["image"].as_slice(), &*payload.0), ([3.0].as_slice(), r#"{"a":1}"#));
}

#[test]
fn bad_points_are_refused_by_name() {
    let point = |vector: &str| upserted(&format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#));
    check(point("[1e999]"), 400, "number out of range");
    check(point("[1e39]"), 400, "");
    check(point("[-3.5e38]"), 400, "");
    check(point("[NaN]"), 400, "Format error in JSON body");
    check(point("[null]"), 400, "expected a finite number");
    check(point("[\"1\"]"), 400, "expected a finite number");
    check(point("[[1]]"), 501, "multivectors");
    check(point("{\"a\": [[1]]}"), 501, "multivectors");
    check(point("{\"a\": {\"indices\": [1], \"values\": [1]}}"), 501, "sparse vectors");
    check(point("{\"a\": [1], \"a\": [2]}"), 400, "vector \"a\" stands twice");
    check(point("7"), 400, "a list of numbers");
    let id = |id: &str| upserted(&format!(r#"{{"points": [{{"id": {id}, "vector": [1]}}]}}"#));
    check(id("-1"), 400, "value -1 is not a valid point ID");
    check(id("1.5"), 400, "value 1.5 is not a valid point ID");
    check(id("\"1\""), 400, "value 1 is not a valid point ID");
    check(id("null"), 400, "a point ID");
    check(upserted(r#"{"points": []}"#), 400, "points: at least one");
    check(upserted("{}"), 400, "either points or batch");
    check(upserted(r#"{"points": [{"id": 1, "vector": [1], "color": 2}]}"#), 400, "unknown field `color`");
    check(upserted(r#"{"points": [{"id": 1}]}"#), 400, "missing field `vector`");
    check(upserted(r#"{"batch": {"ids": [1], "vectors": [[1], [2]]}}"#), 400, "batch.vectors: 2 of them for 1 ids");
    check(upserted(r#"{"batch": {"ids": [1], "vectors": [[1]], "payloads": []}}"#), 400, "batch.payloads: 0");
    check(upserted(r#"{"points": [{"id": 1, "vector": [1], "payload": [1]}]}"#), 400, "expected a map");
    check(upserted(r#"{"points": [], "shard_key": "a"}"#), 501, "shard_key");
    check(upserted(r#"{"points": [], "update_filter": {}}"#), 501, "update_filter");
    check(upserted(r#"{"points": [], "update_mode": "insert_only"}"#), 501, "update_mode: insert_only");
    check(upserted("{\"points\": ["), 400, "EOF");
    check(upserted(""), 400, "EOF");
    let many: Vec<_> = (0..10_001).collect();
    let few = Limits { point_batch_size: 10_000, ..Limits::default() };
    check(
        delete(json!({"points": many}).to_string().as_bytes(), &few),
        400,
        "points must be at most 10000 in one request (got 10001)",
    );
}

#[test]
fn nesting_is_bounded_before_anything_is_built() {
    let nested = |depth: usize| {
        format!(
            r#"{{"points":[{{"id":1,"vector":[1],"payload":{{"a":{}{}}}}}]}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(upserted(&nested(60)).is_ok());
    check(upserted(&nested(61)), 400, "nested deeper than 64");
    check(upserted(&"[".repeat(1 << 20)), 400, "nested deeper than 64");
    let in_text = format!(r#"{{"points":[{{"id":1,"vector":[1],"payload":{{"a":"\"{}"}}}}]}}"#, "[".repeat(100));
    assert!(upserted(&in_text).is_ok(), "brackets in a text are no nesting");
}
