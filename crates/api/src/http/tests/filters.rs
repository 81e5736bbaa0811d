//! Filters, and the payload paths in them.

use meridian_model::{Condition, Filter, Query, Scalar};

use super::*;

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
