mod readme;

use std::time::Duration;

use meridian_config::Limits;
use meridian_model::client::{CollectionReport, PointOp};
use meridian_model::{
    CollectionName, CollectionUid, Condition, Distance, Fields, Filter, Found, HnswParams, Names, Payload, PointId,
    Query, Record, Scalar, Vectors,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SHAPE: Shape = Shape {
    shards: 2,
    replicas: 3,
    hnsw: HnswParams { m: 16, ef_construct: 100, inline_storage: false, full_scan_threshold: 10_000 },
};

fn create(body: Value) -> Result<meridian_model::CollectionDef, Fault> {
    create_collection(CollectionName::new("c").unwrap(), body.to_string().as_bytes(), &SHAPE, &Limits::default())
}

fn upserted(body: &str) -> Result<Vec<PointOp>, Fault> {
    upsert(body.as_bytes(), &Limits::default())
}

fn asked(body: Value) -> Result<Ask, Fault> {
    query(body.to_string().as_bytes(), &Limits::default())
}

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, Fault>, status: u16, says: &str) {
    let fault = result.unwrap_err();
    assert_eq!(fault.status(), status, "{fault}");
    assert!(fault.to_string().contains(says), "{fault}");
    assert!(!fault.to_string().contains('\u{1}'), "{fault:?}");
}

#[test]
fn a_collection_with_one_or_several_vectors_is_read() {
    let one = create(json!({"vectors": {"size": 4, "distance": "Cosine"}})).unwrap();
    assert_eq!(one.vectors[""].dim, 4);
    assert_eq!(one.vectors[""].hnsw, SHAPE.hnsw);
    let several = json!({
        "vectors": {
            "image": {"size": 4, "distance": "Dot", "on_disk": false, "datatype": "float32"},
            "size": {"size": 2, "distance": "Manhattan", "hnsw_config": {"m": 32, "inline_storage": false, "full_scan_threshold_kb": 0}},
        },
        "hnsw_config": {"ef_construct": 200, "inline_storage": true, "max_indexing_threads": 0, "full_scan_threshold": 250},
        "shard_number": 2, "replication_factor": 3, "write_consistency_factor": 2, "on_disk_payload": false,
        "optimizers_config": {"default_segment_number": 0}, "wal_config": {"wal_capacity_mb": 32},
        "sparse_vectors": {}, "metadata": null, "strict_mode_config": {"enabled": false}, "sharding_method": "auto",
    });
    let several = create(several).unwrap();
    assert_eq!(several.vectors["image"].distance, Distance::Dot);
    let hnsw = |m, inline_storage, full_scan_threshold| HnswParams {
        m,
        ef_construct: 200,
        inline_storage,
        full_scan_threshold,
    };
    assert_eq!(several.vectors["image"].hnsw, hnsw(16, true, 250));
    assert_eq!(several.vectors["size"].hnsw, hnsw(32, false, 0));
}

#[test]
fn a_collection_reports_the_thresholds_that_its_searches_use() {
    let reported = |body: Value| {
        let def = create(body).unwrap();
        let report = CollectionReport { uid: CollectionUid(1), def, points: 0, indexed: 0, shards: 2, replicas: 3 };
        let body: Value = serde_json::from_slice(&collection(&report, Duration::ZERO).unwrap()).unwrap();
        let config = &body["result"]["config"];
        (config["hnsw_config"]["full_scan_threshold"].clone(), config["params"]["vectors"].clone())
    };
    let (common, vectors) = reported(json!({"vectors": {"size": 4, "distance": "Dot"}}));
    assert_eq!((common, vectors), (json!(10_000), json!({"size": 4, "distance": "Dot"})));
    let one = json!({"size": 4, "distance": "Dot"});
    let (common, vectors) = reported(json!({
        "vectors": {"a": one, "b": {"size": 4, "distance": "Dot", "hnsw_config": {"full_scan_threshold": 0}}},
        "hnsw_config": {"full_scan_threshold": 77},
    }));
    assert_eq!((common, &vectors["a"]), (json!(77), &one));
    assert_eq!(vectors["b"]["hnsw_config"]["full_scan_threshold"], 0);
}

#[test]
fn what_a_collection_cannot_have_is_refused_by_name() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"vectors": {"size": 4, "distance": "Dot"}});
        body[name] = value;
        create(body)
    };
    check(with("shard_number", json!(3)), 400, "shard_number: 3 cannot be had, this cluster has 2");
    check(with("replication_factor", json!(1)), 400, "replication_factor: 1 cannot be had");
    check(with("write_consistency_factor", json!(3)), 400, "majority, which is 2");
    check(with("on_disk_payload", json!(true)), 501, "on_disk_payload");
    check(with("sharding_method", json!("custom")), 501, "sharding_method: custom");
    check(with("quantization_config", json!({"scalar": {"type": "int8"}})), 501, "quantization_config");
    check(with("sparse_vectors", json!({"text": {}})), 501, "sparse_vectors");
    check(with("metadata", json!({"a": 1})), 501, "metadata");
    check(with("strict_mode_config", json!({"enabled": true})), 501, "strict_mode_config");
    check(with("optimizers_config", json!({"indexing_threshold": 0})), 501, "optimizers_config");
    check(with("wal_config", json!({"wal_capacity_mb": 1})), 501, "wal_config.wal_capacity_mb: 1");
    check(with("hnsw_config", json!({"on_disk": true})), 501, "hnsw_config.on_disk: true");
    check(with("hnsw_config", json!({"m": 0})), 400, "hnsw_config.m: 0, from 4 to 128");
    check(with("hnsw_config", json!({"payload_m": 4})), 501, "hnsw_config.payload_m");
    let beyond = json!({"full_scan_threshold": 1u64 << 32});
    check(with("hnsw_config", beyond), 400, "full_scan_threshold must be <= 4294967295 kilobytes (got 4294967296)");
    check(with("init_from", json!({"collection": "x"})), 501, "init_from");
    check(with("colour", json!(1)), 400, "unknown field `colour`");
    check(with("vectors", json!({})), 400, "vectors: 0 of them");
    check(with("vectors", Value::Null), 400, "vectors: 0 of them");
    check(with("vectors", json!({"size": 0, "distance": "Dot"})), 400, "vectors.size: 0");
    check(with("vectors", json!({"size": 65537, "distance": "Dot"})), 400, "vectors.size: 65537");
    check(with("vectors", json!({"size": 4, "distance": "Hamming"})), 400, "Hamming");
    check(with("vectors", json!({"size": 4, "distance": "Dot", "on_disk": true})), 501, "vectors.on_disk");
    check(
        with("vectors", json!({"a": {"size": 4, "distance": "Dot", "datatype": "uint8"}})),
        501,
        "vectors.a.datatype",
    );
    check(with("vectors", json!({"a": {"size": 4, "distance": "Dot", "x": 1}})), 400, "vectors.a: unknown field `x`");
    check(with("vectors", json!({"a\u{0}": {"size": 4, "distance": "Dot"}})), 400, "cannot contain");
}

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
    let few = Limits { batch_points: 10_000, ..Limits::default() };
    check(delete(json!({"points": many}).to_string().as_bytes(), &few), 400, "points: 10001");
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

#[test]
fn a_query_is_read_in_all_its_forms() {
    let ask = asked(json!({"query": [0.5], "limit": 5, "offset": 2, "params": {"hnsw_ef": 64, "exact": true},
        "score_threshold": 0.5, "with_payload": ["a"], "with_vector": true, "using": "image", "prefetch": []}))
    .unwrap();
    let Query::Search(search) = ask.search(vec![0.5]) else { panic!() };
    assert_eq!((ask.target, ask.skip, search.limit), (Target::Vector(vec![0.5]), 2, 7));
    assert_eq!((search.ef, search.exact, search.score_threshold), (Some(64), true, Some(0.5)));
    assert_eq!((search.select.payload, search.select.vectors), (Fields::Only(vec!["a".parse().unwrap()]), Names::All));
    let by_recall = asked(json!({"query": [0.5], "params": {"recall": 0.95}})).unwrap();
    let Query::Search(search) = by_recall.search(vec![0.5]) else { panic!() };
    assert_eq!((search.ef, search.recall), (None, Some(950)));
    assert_eq!(asked(json!({"query": {"nearest": 7}})).unwrap().target, Target::Point(PointId::Num(7)));
    assert_eq!(asked(json!({"query": {"nearest": [1], "mmr": null}})).unwrap().target, Target::Vector(vec![1.0]));
    assert_eq!(asked(json!({})).unwrap().target, Target::Any);
    let legacy = json!({"vector": {"name": "image", "vector": [1]}, "top": 3}).to_string();
    assert_eq!(legacy_search(legacy.as_bytes(), &Limits::default()).unwrap().using(), "image");
}

#[test]
fn a_query_near_a_point_leaves_it_out() {
    let ask = asked(json!({"query": 7, "filter": {"must": {"key": "a", "match": {"value": 1}}}})).unwrap();
    let Query::Search(search) = ask.search(vec![1.0]) else { panic!() };
    let filter = search.filter.unwrap();
    assert_eq!(filter.must_not, [Condition::HasId([PointId::Num(7)].into())]);
    assert!(matches!(filter.must.as_slice(), [Condition::Nested(_)]));
}

#[test]
fn what_a_query_cannot_ask_is_refused_by_name() {
    check(asked(json!({"query": {"recommend": {"positive": [1]}}})), 501, "\"recommend\" is not supported");
    check(asked(json!({"query": {"fusion": "rrf"}})), 501, "\"fusion\"");
    check(asked(json!({"query": {"nearest": {"text": "hi", "model": "m"}}})), 501, "\"model\"");
    check(asked(json!({"query": {"indices": [1], "values": [1]}})), 501, "sparse");
    check(asked(json!({"query": {"nearest": [1], "mmr": {"diversity": 0.5}}})), 501, "\"mmr\"");
    check(asked(json!({"query": [[1.0]]})), 501, "multivectors");
    check(asked(json!({"query": "not a uuid"})), 400, "value not a uuid is not a valid point ID");
    check(asked(json!({"query": {}})), 400, "nearest");
    check(asked(json!({"query": [1], "prefetch": {"query": [1]}})), 501, "prefetch");
    check(asked(json!({"query": [1], "lookup_from": {"collection": "x"}})), 501, "lookup_from");
    check(asked(json!({"query": [1], "shard_key": 1})), 501, "shard_key");
    check(asked(json!({"query": [1], "params": {"indexed_only": true}})), 501, "params.indexed_only");
    check(asked(json!({"query": [1], "params": {"quantization": {"rescore": true}}})), 501, "params.quantization");
    check(asked(json!({"query": [1], "params": {"hnsw_ef": 5000}})), 400, "params.hnsw_ef: 5000");
    check(asked(json!({"query": [1], "params": {"recall": 1.5}})), 400, "params.recall: 1.5");
    check(asked(json!({"query": [1], "params": {"recall": 0}})), 400, "params.recall: 0");
    check(asked(json!({"query": [1], "params": {"recall": 0.9, "hnsw_ef": 50}})), 400, "either it or hnsw_ef");
    check(asked(json!({"query": [1], "limit": 0})), 400, "limit: 0");
    check(asked(json!({"query": [1], "limit": 10_000, "offset": 1})), 400, "up to 10000 are possible together");
    check(asked(json!({"query": [1], "limit": -1})), 400, "-1");
    check(asked(json!({"query": [1], "score_threshold": 1e300})), 400, "");
    check(asked(json!({"query": [1], "with_payload": {"include": [], "exclude": []}})), 400, "");
    check(asked(json!({"query": [1], "quary": 1})), 400, "unknown field `quary`");
    check(scroll(br#"{"order_by": "a"}"#, &Limits::default()), 501, "order_by");
    check(query_batch(br#"{"searches": [{"query": [[1]]}]}"#, &Limits::default()), 501, "multivectors");
}

fn filtered(filter: Value) -> Result<Filter, Fault> {
    match count(json!({"filter": filter}).to_string().as_bytes(), &Limits::default())? {
        Query::Count { filter } => Ok(filter.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filter_is_read() {
    let read = filtered(json!({
        "must": [
            {"key": "a.b[]", "match": {"any": ["x", "y"]}},
            {"key": "n", "range": {"gte": 1, "lt": 2.5}},
            {"has_id": [1, "f47ac10b-58cc-4372-a567-0e02b2c3d479"]},
            {"should": [{"key": "t", "match": {"value": true}}]},
        ],
        "must_not": {"key": "a", "match": {"except": [1, 2]}},
    }))
    .unwrap();
    assert_eq!(read.must.len(), 4);
    assert_eq!(
        read.must_not,
        [Condition::Except { key: "a".parse().unwrap(), except: vec![Scalar::Int(1), Scalar::Int(2)] }]
    );
    assert!(read.should.is_empty());
    assert_eq!(filtered(json!({})).unwrap(), Filter::default());
}

#[test]
fn keys_are_paths_in_the_grammar_of_qdrant() {
    for key in ["a", "a.b", "a[]", "a[][]", "a[0]", "a[].b[12]", "\"a.b\".c", "größe"] {
        let read = filtered(json!({"must": {"key": key, "range": {"gte": 0}}})).unwrap();
        let [Condition::Range { key: path, .. }] = read.must.as_slice() else { panic!("{read:?}") };
        assert_eq!(path.to_string(), key);
    }
    for key in ["", "a b", "a.", "a[", "a[x]", "a[-1]", "[0]", "\"a", "a..b", "$.a"] {
        check(filtered(json!({"must_not": {"key": key, "range": {"gte": 0}}})), 400, "filter.key: a payload path must");
        check(asked(json!({"query": [1], "with_payload": [key]})), 400, "with_payload: a payload path must");
        check(
            asked(json!({"query": [1], "with_payload": {"exclude": [key]}})),
            400,
            "with_payload: a payload path must",
        );
    }
    let by_index = "elements of arrays cannot be selected by index (got \"a[0].b\")";
    check(asked(json!({"query": [1], "with_payload": {"include": ["a", "a[0].b"]}})), 501, by_index);
    check(asked(json!({"query": [1], "with_payload": {"exclude": ["a[0].b"]}})), 501, by_index);
    check(scroll(br#"{"with_payload": ["a[0].b"]}"#, &Limits::default()), 501, by_index);
}

#[test]
fn a_bad_filter_is_refused_by_name() {
    check(filtered(json!({"min_should": {"conditions": [], "min_count": 1}})), 501, "min_should");
    for unsupported in ["geo_radius", "geo_polygon", "geo_bounding_box", "values_count", "is_empty", "is_null"] {
        check(filtered(json!({"must": [{"key": "a", unsupported: {}}]})), 501, unsupported);
    }
    check(filtered(json!({"must": [{"nested": {"key": "a", "filter": {}}}]})), 501, "nested");
    check(filtered(json!({"must": [{"has_vector": "a"}]})), 501, "has_vector");
    check(filtered(json!({"must": [{"key": "a", "match": {"text": "x"}}]})), 501, "match.text");
    check(filtered(json!({"must": [{"key": "a", "range": {"gt": "2026-01-01"}}]})), 501, "range.gt");
    check(filtered(json!({"must": [{"key": "a", "match": {"value": 1.5}}]})), 400, "match on 1.5");
    check(filtered(json!({"must": [{"key": "a", "match": {"value": u64::MAX}}]})), 400, "match on");
    check(filtered(json!({"must": [{"key": "a", "match": {}}]})), 400, "one of value, any, except");
    check(filtered(json!({"must": [{"key": "a"}]})), 400, "a condition is either");
    check(filtered(json!({"must": [{"key": "", "match": {"value": 1}}]})), 400, "between 1 and 1024 bytes (got 0)");
    check(filtered(json!({"must": [{"has_id": [1], "must": []}]})), 400, "a condition is either");
    check(filtered(json!({"mustt": []})), 400, "unknown field `mustt`");
    let condition = json!({"key": "a", "match": {"value": 1}});
    check(filtered(json!({"must": vec![condition.clone(); 1_001]})), 400, "more than 1000 conditions");
    let mut deep = json!({"must": condition});
    for _ in 0..16 {
        deep = json!({"must": deep});
    }
    check(filtered(deep), 400, "nested deeper than 16");
    check(filtered(json!({"must": [{"has_id": (0..10_001).collect::<Vec<_>>()}]})), 400, "more than 10000 values");
}

fn record_of(payload: &str, vectors: Option<Vectors>) -> Record {
    Record { id: PointId::Num(1), version: 9, payload: Some(Payload(payload.into())), vectors }
}

#[track_caller]
fn renders(bytes: &[u8], expected: Value) {
    assert_eq!(serde_json::from_slice::<Value>(bytes).unwrap(), expected);
}

#[test]
fn answers_stand_in_the_envelope() {
    let time = Duration::from_millis(500);
    let one = record_of(r#"{"a":1}"#, Some(Vectors::from([(String::new(), vec![0.1])])));
    let bytes = found(&[Found { record: one, score: 0.25 }], time).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains("[0.1]"), "an f32 is printed as its own shortest decimal: {text}");
    renders(
        &bytes,
        json!({"result": {"points": [{"id": 1, "version": 9, "score": 0.25, "payload": {"a": 1}, "vector": [0.1]}]}, "status": "ok", "time": 0.5}),
    );
    let named = record_of("", Some(Vectors::from([("t".into(), vec![1.0])])));
    renders(
        &record(&named, time).unwrap(),
        json!({"result": {"id": 1, "payload": {}, "vector": {"t": [1.0]}}, "status": "ok", "time": 0.5}),
    );
    let next = Some(PointId::Uuid(1));
    renders(
        &scrolled(&[], next, time).unwrap(),
        json!({"result": {"points": [], "next_page_offset": "00000000-0000-0000-0000-000000000001"}, "status": "ok", "time": 0.5}),
    );
    renders(&error("no", time), json!({"status": {"error": "no"}, "time": 0.5}));
    assert!(found(&[Found { record: record_of("{", None), score: 0.0 }], time).is_err());
}

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
    fn no_body_makes_the_door_panic(body in bodies(), raw in prop::collection::vec(any::<u8>(), 0..60)) {
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

/// A budget that has so much left.
struct Left(std::sync::Mutex<usize>);

impl Budget for Left {
    fn take(&self, bytes: usize) -> bool {
        let mut left = self.0.lock().unwrap();
        left.checked_sub(bytes).map(|rest| *left = rest).is_some()
    }
}

fn metered_alone<T>(body: &str, decode: impl FnOnce(&[u8], &Limits) -> Result<T, Fault>) -> (Result<T, Fault>, usize) {
    metered(body.len(), None, || decode(body.as_bytes(), &Limits::default()))
}

/// As many of `element` as a body of about 4 MiB holds.
fn many(before: &str, element: &str, after: &str) -> String {
    let count = (4 << 20) / (element.len() + 1);
    format!("{before}{}{after}", vec![element; count].join(","))
}

#[test]
fn a_body_that_becomes_far_larger_is_refused_while_it_is_decoded() {
    let filters = many(r#"{"filter":{"must":["#, "{}", "]}}");
    let searches = many(r#"{"searches":["#, "{}", "]}");
    let shoulds = many(r#"{"filter":{"should":["#, r#"{"must":{}}"#, "]}}");
    let ids = many(r#"{"ids":["#, "1", "]}");
    let texts = many(r#"{"with_payload":["#, r#""""#, "]}");
    let values = many(r#"{"filter":{"must":{"key":"a","match":{"any":["#, "1", "]}}}}");
    let points = many(r#"{"points":["#, r#"{"id":1,"vector":[1]}"#, "]}");
    let columns = many(r#"{"batch":{"ids":[1],"vectors":["#, "[1]", "]}}");
    check(metered_alone(&filters, count).0, 413, "the request body of");
    check(metered_alone(&searches, query_batch).0, 413, "once it is decoded");
    check(metered_alone(&shoulds, scroll).0, 413, "once it is decoded");
    check(metered_alone(&ids, retrieve).0, 413, "once it is decoded");
    check(metered_alone(&texts, scroll).0, 413, "once it is decoded");
    check(metered_alone(&values, count).0, 413, "once it is decoded");
    check(metered_alone(&points, upsert).0, 413, "once it is decoded");
    check(metered_alone(&columns, upsert).0, 413, "once it is decoded");
}

#[test]
fn what_is_not_supported_is_not_built_either() {
    let prefetch = many(r#"{"prefetch":["#, "[]", "]}");
    let (refused, used) = metered_alone(&prefetch, query);
    check(refused, 501, "prefetch");
    assert_eq!(used, 0);
    let lists = many(r#"{"filter":{"must":{"key":"a","match":{"value":["#, "[]", "]}}}}");
    let (refused, used) = metered_alone(&lists, count);
    check(refused, 400, "can be matched");
    assert!(used < 64 << 10, "{used}");
}

#[test]
fn ordinary_bodies_of_full_size_are_decoded() {
    let vector: Vec<f32> = (0..100).map(|n| (n as f32 * 0.731).sin()).collect();
    let point =
        json!({"id": 123_456, "vector": vector, "payload": {"city": "Berlin", "count": 17, "tags": ["a", "b"]}});
    let point = point.to_string();
    let count = Limits::default().body_bytes / (point.len() + 1) - 1;
    let points = format!(r#"{{"points":[{}]}}"#, vec![&*point; count].join(","));
    let (ops, used) = metered_alone(&points, upsert);
    assert_eq!(ops.unwrap().len(), count);
    assert!(used < 2 * points.len(), "{used} bytes of {}", points.len());
    let nested = json!({"points": [{"id": 1, "vector": [1], "payload": {"n": vec![vec![0; 2]; 100_000]}}]}).to_string();
    let (ops, used) = metered_alone(&nested, upsert);
    assert!(ops.is_ok() && used <= nested.len() * 3 + (1 << 20), "a payload is text: {used} bytes of {}", nested.len());
}

#[test]
fn a_body_that_finds_no_room_is_refused_and_says_what_it_took() {
    let budget = std::sync::Arc::new(Left(std::sync::Mutex::new(64 << 10)));
    let ids = json!({"ids": (0..9_000).collect::<Vec<_>>()}).to_string();
    let decode = || retrieve(ids.as_bytes(), &Limits::default());
    let (refused, taken) = metered(ids.len(), Some(budget.clone()), decode);
    check(refused, 429, "use all memory");
    assert_eq!(taken + *budget.0.lock().unwrap(), 64 << 10);
    let small = || count(b"{}", &Limits::default());
    assert!(metered(2, Some(budget), small).0.is_ok(), "what needs nothing takes nothing");
    check(
        create_collection(CollectionName::new("c").unwrap(), &[b' '; 40_000], &SHAPE, &Limits::default()),
        413,
        "at most 32768 bytes",
    );
}
