//! The rules for users: each case is one field away from a valid resource.

use kube::core::cel::validate_cel_schema;
use serde_json::{Value, json};

use crate::{ReplicationLinkSpec, VectorClusterSpec, definitions};

fn cluster() -> Value {
    json!({
        "region": "us-east", "shards": 2, "replicasPerShard": 3, "storage": {"size": "1Gi"},
        "replicationGroup": {"name": "g", "primary": {"region": "us-east"}, "writeMode": "SingleWriter", "secretRef": {"name": "k"},
            "regions": [{"name": "us-east", "endpoint": "a.us-east.svc:8082"}, {"name": "eu-west", "endpoint": "b:8082"}]},
        "freshness": {"default": "100ms", "onStale": ["Wait", "Serve"], "maxWait": "1s", "clockBound": "10ms"},
        "collectionDefaults": {"hnswConfig": {"m": 16, "efConstruct": 100}},
        "auth": {"mode": "ApiKey", "secretRef": {"name": "s"}},
        "cors": {"allowOrigins": ["https://app.example.com", "http://[::1]:3000"]},
        "traffic": {"istio": {"hosts": ["h"], "gateways": ["g/g"]}},
        "upgrade": {"finalizeAfter": "24h"},
    })
}

fn link() -> Value {
    json!({
        "clusterRef": {"name": "c"}, "source": {"region": "us-east"}, "state": "Running",
        "transport": {"kafka": {"via": "Mirror", "bootstrapServers": "k:9092"}},
        "mirrorMaker2": {"mode": "Strimzi", "bootstrapServers": "l:9092"},
    })
}

/// `value` with the field at `path` replaced; `null` removes it.
fn with(mut value: Value, path: &str, new: Value) -> Value {
    let (parent, field) = path.rsplit_once('/').unwrap();
    let map = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if new.is_null() {
        map.remove(field)
    } else {
        map.insert(field.into(), new)
    };
    value
}

/// Checks that it is refused with a message that contains `says`.
fn check<T: schemars::JsonSchema>(new: &Value, old: Option<&Value>, says: &str) {
    let refusal = validate_cel_schema::<T>(new, old).expect_err(says).to_string();
    assert!(refusal.contains(says), "{refusal:?} does not say {says:?}");
}

#[test]
fn good_resources_pass_created_and_unchanged() {
    validate_cel_schema::<VectorClusterSpec>(&cluster(), None).unwrap();
    validate_cel_schema::<VectorClusterSpec>(&cluster(), Some(&cluster())).unwrap();
    validate_cel_schema::<ReplicationLinkSpec>(&link(), None).unwrap();
    validate_cel_schema::<ReplicationLinkSpec>(&link(), Some(&link())).unwrap();
}

#[test]
fn immutable_fields_do_not_change() {
    let cases = [
        ("/region", json!("eu-west"), "region cannot be changed"),
        ("/shards", json!(3), "shards cannot be changed"),
        ("/storage/size", json!("2Gi"), "storage cannot be changed"),
        ("/replicationGroup/primary/region", json!("eu-west"), "primary cannot be changed"),
        ("/replicationGroup/writeMode", json!("MultiWriter"), "writeMode cannot be changed"),
        ("/replicationGroup/name", json!("h"), "replicationGroup.name cannot be changed"),
        ("/replicationGroup", Value::Null, "replicationGroup cannot be removed"),
    ];
    for (path, new, says) in cases {
        check::<VectorClusterSpec>(&with(cluster(), path, new), Some(&cluster()), says);
    }
    let cases = [("/clusterRef/name", "clusterRef cannot be changed"), ("/source/region", "source cannot be changed")];
    for (path, says) in cases {
        check::<ReplicationLinkSpec>(&with(link(), path, json!("other")), Some(&link()), says);
    }
}

#[test]
fn contradictory_input_is_refused() {
    let cases = [
        ("/replicasPerShard", json!(2), "must be 1, 3 or 5"),
        ("/shards", json!(200), "must not exceed 500"),
        ("/region", json!("ap-south"), "must name this cluster's own region"),
        ("/replicationGroup/primary/region", json!("ap-south"), "must be one of regions"),
        ("/replicationGroup/writeMode", json!("MultiWriter"), "MultiWriter is not supported yet"),
        ("/replicationGroup/secretRef", Value::Null, "needs secretRef"),
        ("/freshness/onStale", json!(["Serve", "Wait"]), "nothing can follow"),
        ("/freshness/onStale", json!(["Serve", "Fail"]), "exclude each other"),
        ("/freshness/maxWait", json!("31s"), "at most 30s"),
        ("/freshness/clockBound", json!("2s"), "from 1ms to 1s"),
        ("/freshness/default", json!("0s"), "above 0"),
        ("/collectionDefaults/hnswConfig/efConstruct", json!(8), "hnswConfig.efConstruct must be at least m"),
        ("/auth/mode", json!("Disabled"), "has no meaning"),
        ("/cors/allowOrigins", json!(["*", "https://a"]), "or a list without"),
        ("/traffic/istio/hosts", Value::Null, "needs traffic.istio.hosts"),
        ("/upgrade/finalizeAfter", json!("721h"), "at most 720h"),
    ];
    for (path, new, says) in cases {
        check::<VectorClusterSpec>(&with(cluster(), path, new), None, says);
    }
    let cases = [
        ("/mirrorMaker2", Value::Null, "must be set exactly"),
        ("/transport/kafka/via", json!("Remote"), "must be set exactly"),
        ("/transport/direct", json!({}), "exactly one of"),
        ("/transport/kafka", Value::Null, "exactly one of"),
    ];
    for (path, new, says) in cases {
        check::<ReplicationLinkSpec>(&with(link(), path, new), None, says);
    }
}

#[test]
fn a_group_may_be_added_later() {
    let alone = with(cluster(), "/replicationGroup", Value::Null);
    validate_cel_schema::<VectorClusterSpec>(&cluster(), Some(&alone)).unwrap();
}

/// Visits every schema below `schema` with the path that leads to it.
fn visit(schema: &Value, path: &str, inside: bool, seen: &mut dyn FnMut(&str, bool, &Value)) {
    seen(path, inside, schema);
    if let Some(properties) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in properties {
            let optional_object = field["type"] == "object" && !required.contains(&name.as_str());
            visit(field, &format!("{path}.{name}"), inside || optional_object, seen);
        }
    }
    if schema["items"].is_object() {
        visit(&schema["items"], &format!("{path}[]"), true, seen);
    }
}

#[test]
fn definitions_are_small_bounded_and_free_of_creeping_defaults() {
    for definition in definitions() {
        let text = serde_json::to_string(&definition).unwrap();
        assert!(text.len() < 150_000, "{} bytes", text.len());
        let definition: Value = serde_json::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        visit(&schema["properties"]["spec"], "spec", false, &mut |path, inside, field| {
            assert!(!inside || field["default"].is_null(), "{path} has a default inside an optional object or a list");
            assert!(
                field["description"].is_string() || path.ends_with("[]") || path == "spec",
                "{path} is not described"
            );
            if field["type"] == "string" && field["enum"].is_null() {
                assert!(field["maxLength"].is_number(), "{path} has no greatest length");
            }
            if field["type"] == "array" {
                assert!(field["maxItems"].is_number(), "{path} has no greatest size");
            }
            if field["type"] == "integer" {
                assert!(field["minimum"].is_number() && field["maximum"].is_number(), "{path} has no bounds");
            }
        });
    }
}
