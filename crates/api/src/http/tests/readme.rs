//! What README says that collections can be is what they can be.

use super::*;

/// Each configuration that README gives numbers of, and what a client would send to have it.
fn configurations() -> [(&'static str, Value); 5] {
    let on_disk = |more: Value| {
        let mut vectors = json!({"size": 4, "distance": "Dot", "on_disk": true});
        vectors.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"vectors": vectors})
    };
    let vectors = json!({"size": 4, "distance": "Dot"});
    [
        ("profile `speed`", json!({"vectors": vectors, "hnsw_config": {"inline_storage": true}})),
        ("profile `balanced`", json!({"vectors": vectors})),
        ("profile `balanced`, vectors in a file", on_disk(json!({}))),
        ("profile `memory`, vectors in a file", on_disk(json!({"quantization_config": {"turbo": {"bits": "bits4"}}}))),
        ("`ivfpq`", json!({"vectors": vectors, "quantization_config": {"product": {"compression": "x8"}}})),
    ]
}

/// Names of Meridian's configurations in bold, and whether each is marked as one of the engine alone.
fn in_readme() -> Vec<(String, bool)> {
    let readme = include_str!("../../../../../README.md");
    let named = readme.split("**Meridian").skip(1).map(|text| text.split_once("**").expect("bold text ends"));
    named.map(|(name, behind)| (name.trim_matches([',', ' ']).into(), behind.starts_with(" (engine only)"))).collect()
}

#[test]
fn configurations_that_are_not_engine_only_are_those_that_a_collection_accepts() {
    let mut expected: Vec<_> =
        configurations().map(|(name, body)| (name.to_owned(), create(body).is_err())).into_iter().collect();
    let mut found = in_readme();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "(name, engine only)");
}
