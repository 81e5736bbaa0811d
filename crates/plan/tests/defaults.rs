//! Defaults in the descriptions of the definitions equal the rendered ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;

use meridian_plan::upgrade::FINALIZE_AFTER;
use meridian_plan::{Settings, render_offline};
use serde_json::Value;

const LEAST: &str = "
apiVersion: meridiandb.io/v1alpha1
kind: VectorCluster
metadata: {name: vector-search, namespace: us-east}
spec: {region: us-east, storage: {size: 1Gi}, deltaLog: {kafka: {bootstrapServers: 'k:9092'}}}
";

/// Defaults in descriptions by the path of the field: the words after `Default `, without backticks. Defaults explained
/// in a sentence begin with `Default:`.
fn documented_defaults(schema: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    if let Some((_, after)) = schema["description"].as_str().and_then(|text| text.split_once("Default "))
        && let Some((default, _)) = after.split_once('.')
    {
        found.insert(path.to_owned(), default.replace('`', ""));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        documented_defaults(field, &format!("{path}.{name}"), found);
    }
}

fn documents(out: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(out).unwrap()
}

#[test]
fn defaults_in_the_definitions_are_the_defaults_rendered() {
    let rendered = documents(&render_offline(LEAST, &Settings::default()).unwrap());
    let of_kind = |kind: &str| rendered.iter().find(|object| object["kind"] == kind).unwrap();
    let config = of_kind("ConfigMap")["data"]["node.yaml"].as_str().unwrap();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    let sets = rendered.iter().filter(|object| object["kind"] == "StatefulSet").count();
    let millis = |value: &Value| format!("{value}ms");
    let capitalized = |value: &Value| {
        let text = value.as_str().unwrap();
        text[..1].to_uppercase() + &text[1..]
    };
    let fallbacks: Vec<String> = config["freshness"]["on_stale"].as_array().unwrap().iter().map(capitalized).collect();
    let expected = BTreeMap::from(
        [
            ("spec.shards", sets.to_string()),
            ("spec.replicasPerShard", of_kind("StatefulSet")["spec"]["replicas"].to_string()),
            ("spec.deltaLog.kafka.topic", config["delta_log"]["kafka"]["topic"].as_str().unwrap().into()),
            ("spec.freshness.onStale", fallbacks.join(", ")),
            ("spec.freshness.maxWait", millis(&config["freshness"]["max_wait_ms"])),
            ("spec.upgrade.finalizeAfter", format!("{}h", FINALIZE_AFTER.as_secs() / 3600)),
            ("spec.freshness.clockBound", millis(&config["freshness"]["clock_bound_ms"])),
            ("spec.collectionDefaults.hnswConfig.m", config["collection_defaults"]["hnsw_config"]["m"].to_string()),
            (
                "spec.collectionDefaults.hnswConfig.efConstruct",
                config["collection_defaults"]["hnsw_config"]["ef_construct"].to_string(),
            ),
        ]
        .map(|(path, value)| (path.to_owned(), value)),
    );
    let mut found = BTreeMap::new();
    let definition = serde_json::to_value(&meridian_crd::definitions()[0]).unwrap();
    documented_defaults(
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
        "spec",
        &mut found,
    );
    assert_eq!(found, expected);
}
