//! Bodies of searches.

use meridian_model::{Condition, Fields, Names, PointId, Query};

use super::*;

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
fn unsupported_fields_of_a_query_are_refused_by_name() {
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
    check(asked(json!({"query": [1], "params": {"hnsw_ef": 5000}})), 400, "params.hnsw_ef must be between");
    check(
        asked(json!({"query": [1], "params": {"recall": 1.5}})),
        400,
        "params.recall must be between 0.001 and 1 (got 1.5)",
    );
    check(asked(json!({"query": [1], "params": {"recall": 0}})), 400, "params.recall must be between");
    check(asked(json!({"query": [1], "params": {"recall": 0.9, "hnsw_ef": 50}})), 400, "either it or hnsw_ef");
    check(asked(json!({"query": [1], "limit": 0})), 400, "limit must be at least 1 (got 0)");
    check(asked(json!({"query": [1], "limit": 10_000, "offset": 1})), 400, "must be at most 10000");
    check(asked(json!({"query": [1], "limit": -1})), 400, "-1");
    check(asked(json!({"query": [1], "score_threshold": 1e300})), 400, "");
    check(asked(json!({"query": [1], "with_payload": {"include": [], "exclude": []}})), 400, "");
    check(asked(json!({"query": [1], "quary": 1})), 400, "unknown field `quary`");
    check(scroll(br#"{"order_by": "a"}"#, &Limits::default()), 501, "order_by");
    check(query_batch(br#"{"searches": [{"query": [[1]]}]}"#, &Limits::default()), 501, "multivectors");
}
