//! Whole rendered objects. Each case is one field away from a named fixture.

use meridian_config::NodeConfig;
use serde_json::Value;

use super::{
    Keys, Object, cluster as render, keys, mirror_maker_offline, peer_ca, peer_tls, properties, render_offline,
};
use crate::fixtures::{ALONE, GROUPED, MIRRORED, settings, valid};
use crate::{Apis, Secrets, Settings, ValidCluster};

const ALL: Apis = Apis { istio: true, strimzi: true };

fn objects(cluster: &ValidCluster, apis: Apis) -> Vec<Object> {
    render(cluster, &super::as_declared(cluster), apis)
}

/// The objects of these kinds for a snapshot, without hashes; of the node's configuration only the parts decided in
/// this crate.
fn shown(objects: &[Object], kinds: &[&str]) -> Vec<Value> {
    let mut shown = of(objects, kinds);
    for object in &mut shown {
        if let Some(text) = object["data"]["node.yaml"].as_str() {
            let mut config: serde_json::Map<String, Value> = serde_saphyr::from_str(text).unwrap();
            config.retain(|key, _| key != "limits" && key != "raft");
            object["data"]["node.yaml"] = config.into();
        }
        without_hashes(object);
    }
    shown
}

/// Replaces hashes of contents: ten hexadecimal digits alone or at the end of a name.
fn without_hashes(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(without_hashes),
        Value::Array(list) => list.iter_mut().for_each(without_hashes),
        Value::String(text) => {
            let tail = text.rsplit('-').next().unwrap_or_default();
            if tail.len() == 10 && tail.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                *text = format!("{}<hash>", &text[..text.len() - 10]);
            }
        }
        _ => {}
    }
}

/// The objects of these kinds.
fn of(objects: &[Object], kinds: &[&str]) -> Vec<Value> {
    let named = |object: &&Object| kinds.contains(&object.reference().kind.as_str());
    objects.iter().filter(named).map(|object| object.as_json().clone()).collect()
}

#[test]
fn a_cluster_that_stands_alone() {
    insta::assert_yaml_snapshot!(shown(
        &objects(&valid(ALONE, &[]), ALL),
        &["Service", "NetworkPolicy", "PodDisruptionBudget"]
    ));
}

#[test]
fn the_stateful_set_of_a_shard() {
    insta::assert_yaml_snapshot!(shown(&objects(&valid(GROUPED, &[]), ALL), &["StatefulSet"]));
}

#[test]
fn the_configuration_of_a_shard() {
    insta::assert_yaml_snapshot!(shown(&objects(&valid(GROUPED, &[MIRRORED]), ALL), &["ConfigMap"]));
}

/// The file in the form that a node reads. A renamed key is visible here, since authors of such files must follow it.
#[test]
fn every_key_of_a_node_configuration() {
    // The operator's own API key, so that the derived one is accepted too.
    let auth = "  auth: {mode: ApiKey, secretRef: {name: my-key}}\n";
    let yaml = GROUPED.replace(auth, "  cors: {allowOrigins: ['https://app.example.com']}\n");
    let maps = of(&objects(&valid(&yaml, &[]), ALL), &["ConfigMap"]);
    let text = maps[0]["data"]["node.yaml"].as_str().unwrap();
    let whole: Value = serde_saphyr::from_str(text).unwrap();
    let (mut mappings, mut keys) = (Vec::new(), 0);
    pointers(&whole, "", &mut mappings);
    for pointer in mappings {
        let mut other = whole.clone();
        other.pointer_mut(&pointer).and_then(Value::as_object_mut).unwrap().insert("?".into(), Value::Null);
        let error = serde_json::from_value::<NodeConfig>(other).unwrap_err().to_string();
        // The error message lists the accepted keys of that mapping.
        let Some((_, known)) = error.split_once("unknown field `?`, expected") else { continue };
        for key in known.split('`').skip(1).step_by(2) {
            assert!(whole.pointer(&format!("{pointer}/{key}")).is_some(), "{pointer}/{key} is not in the file");
            keys += 1;
        }
    }
    assert!(keys > 50, "{keys}");
    insta::assert_snapshot!(text);
}

/// JSON pointers of all mappings.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    if value.is_object() {
        found.push(pointer.to_owned());
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        pointers(inner, &format!("{pointer}/{key}"), found);
    }
    for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
        pointers(inner, &format!("{pointer}/{at}"), found);
    }
}

#[test]
fn the_routes_of_a_group() {
    insta::assert_yaml_snapshot!(shown(&objects(&valid(GROUPED, &[]), ALL), &["VirtualService", "DestinationRule"]));
}

#[test]
fn mirror_maker_by_strimzi() {
    insta::assert_yaml_snapshot!(shown(&objects(&valid(GROUPED, &[MIRRORED]), ALL), &["KafkaMirrorMaker2"]));
}

#[test]
fn mirror_maker_by_deployment() {
    let link = MIRRORED.replace("mode: Strimzi", "mode: Deployment");
    let objects = objects(&valid(GROUPED, &[&link]), ALL);
    let mirror: Vec<_> = shown(&objects, &["Deployment", "ConfigMap"])
        .into_iter()
        .filter(|object| object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("from-us-east")))
        .collect();
    insta::assert_yaml_snapshot!(mirror);
}

#[test]
fn nodes_accept_every_rendered_configuration() {
    let direct = MIRRORED
        .replace("{kafka: {via: Mirror, bootstrapServers: 'kafka.us-east:9092'}}", "{direct: {}}")
        .replace("mirrorMaker2: {mode: Strimzi, bootstrapServers: 'kafka.eu-west:9092'}", "state: Paused");
    for cluster in [valid(ALONE, &[]), valid(GROUPED, &[]), valid(GROUPED, &[MIRRORED]), valid(GROUPED, &[&direct])] {
        for map in of(&objects(&cluster, ALL), &["ConfigMap"]) {
            let text = map["data"]["node.yaml"].as_str().unwrap();
            let config = NodeConfig::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(config.render(), text);
        }
    }
}

#[test]
fn origins_of_web_pages_reach_the_nodes() {
    let origins = |yaml: &str| {
        let maps = of(&objects(&valid(yaml, &[]), ALL), &["ConfigMap"]);
        let config = NodeConfig::parse(maps[0]["data"]["node.yaml"].as_str().unwrap()).unwrap();
        config.cors.allow_origins.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(origins(GROUPED).is_empty());
    let named = "  cors: {allowOrigins: ['https://app.example.com', 'http://localhost:3000']}\n  collectionDefaults: {";
    assert_eq!(
        origins(&GROUPED.replace("  collectionDefaults: {", named)),
        ["https://app.example.com", "http://localhost:3000"]
    );
}

#[test]
fn the_number_of_replicas_restarts_nothing() {
    let three = valid(ALONE, &[]);
    let five = ValidCluster { replicas: 5, ..three.clone() };
    let template = |cluster: &ValidCluster| of(&objects(cluster, ALL), &["StatefulSet"])[0]["spec"]["template"].clone();
    assert_eq!(template(&three), template(&five));
}

#[test]
fn a_changed_setting_names_another_file() {
    let one = valid(GROUPED, &[]);
    let other = valid(&GROUPED.replace("m: 32", "m: 24"), &[]);
    let file = |cluster: &ValidCluster| of(&objects(cluster, ALL), &["ConfigMap"])[0]["metadata"]["name"].clone();
    assert_ne!(file(&one), file(&other));
}

#[test]
fn a_host_without_permission_gets_no_route() {
    let cluster = valid(&GROUPED.replace("hosts: [search.example.com]", "hosts: ['*']"), &[]);
    assert_eq!(of(&objects(&cluster, ALL), &["VirtualService", "DestinationRule"]), Vec::<Value>::new());
    let refused = render_offline(GROUPED, &Settings::default()).unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("search.example.com (a gateway or clientNamespaces is of another namespace)"), "{why}");
}

#[test]
fn objects_of_apis_that_are_not_served_are_not_rendered() {
    let objects = objects(&valid(GROUPED, &[MIRRORED]), Apis::default());
    assert_eq!(of(&objects, &["VirtualService", "DestinationRule", "KafkaMirrorMaker2"]), Vec::<Value>::new());
}

#[test]
fn rendering_is_deterministic() {
    let cluster = valid(GROUPED, &[MIRRORED]);
    assert_eq!(objects(&cluster, ALL), objects(&cluster, ALL));
}

#[test]
fn properties_omit_keys_that_dedicated_mode_refuses() {
    let cluster = valid(GROUPED, &[MIRRORED]);
    let text = properties(&cluster, &cluster.links[0]).unwrap();
    assert!(!text.contains("exactly.once.support") && !text.contains("emit.offset-syncs"));
    assert!(text.contains("us-east->eu-west.topics = vector-deltas"));
}

#[test]
fn a_dot_in_a_topic_stands_for_itself() {
    let dotted = MIRRORED.replace("'kafka.us-east:9092'}", "'kafka.us-east:9092', topic: vector.deltas}");
    let cluster = valid(GROUPED, &[&dotted]);
    let text = properties(&cluster, &cluster.links[0]).unwrap();
    assert!(text.contains("us-east->eu-west.topics = vector\\\\.deltas\n"), "{text}");
}

#[test]
fn offline_refuses_lines_in_the_properties_of_mirror_maker_2() {
    let injected = ["\"k:1\\nlisteners = http://0.0.0.0:1\"", "'k:1', topic: \"t\\nlisteners = x\""];
    for servers in injected {
        let text = format!("{GROUPED}---{}", MIRRORED.replace("'kafka.us-east:9092'", servers));
        assert!(mirror_maker_offline(&text, &settings()).is_err(), "{servers}");
    }
}

fn made(cluster: &ValidCluster, present: Secrets) -> Vec<Object> {
    keys(cluster, present, &Keys { api_key: Some("an-api-key".into()), group_key: "a-group-key".into() })
}

#[test]
fn keys_are_made_once_and_outlive_the_cluster() {
    let cluster = valid(ALONE, &[]);
    let objects = made(&cluster, Secrets::default());
    let names: Vec<String> = objects.iter().map(|object| object.reference().name).collect();
    assert_eq!(names, ["vector-search-api-key"]);
    assert!(objects[0].as_json()["metadata"]["ownerReferences"].is_null());
    assert_eq!(made(&cluster, Secrets { api_key: true, group_key: true }), []);
    let none = Keys { api_key: None, group_key: String::new() };
    assert_eq!(keys(&cluster, Secrets::default(), &none), [], "it waits for the group key");
}

#[test]
fn certificates_go_with_the_cluster() {
    let cluster = valid(ALONE, &[]);
    for object in [peer_ca(&cluster, "ca", "key"), peer_tls(&cluster, "ca", "cert", "key")] {
        assert!(object.as_json()["metadata"]["ownerReferences"].is_array());
    }
}

#[test]
fn secrets_that_the_user_named_are_never_made() {
    assert_eq!(made(&valid(GROUPED, &[]), Secrets::default()), []);
}

#[test]
fn offline_rendering_prints_no_secret_and_refuses_what_the_operator_refuses() {
    let text = format!("{GROUPED}---{MIRRORED}");
    let out = render_offline(&text, &settings()).unwrap();
    assert!(
        out.contains("kind: StatefulSet") && out.contains("kind: KafkaMirrorMaker2") && !out.contains("kind: Secret")
    );
    let wrong = text.replace("source: {region: us-east}", "source: {region: mars}");
    assert!(render_offline(&wrong, &settings()).unwrap_err().to_string().contains("from-us-east"));
    assert!(render_offline(MIRRORED, &settings()).unwrap_err().to_string().contains("is not in the file"));
    let empty = render_offline("kind: Service\n", &settings()).unwrap_err().to_string();
    assert_eq!(empty, "there is no VectorCluster in the file");
}

#[test]
fn offline_rendering_prints_mirror_maker_properties_in_every_mode() {
    for mode in ["Strimzi", "Deployment", "External"] {
        let text = format!("{GROUPED}---{}", MIRRORED.replace("Strimzi", mode));
        let out = mirror_maker_offline(&text, &settings()).unwrap();
        let cluster = valid(GROUPED, &[MIRRORED]);
        let wanted = properties(&cluster, &cluster.links[0]).unwrap();
        assert_eq!(out, format!("# ReplicationLink eu-west/from-us-east\n{wanted}"));
    }
    let none = mirror_maker_offline(GROUPED, &settings()).unwrap_err().to_string();
    assert!(none.contains("mirrored"), "{none}");
}

#[test]
fn the_grace_period_is_longer_than_the_shutdown_timeout() {
    let limits = meridian_config::Limits::default();
    // Time for the writes after the last snapshot, and for a node that notices the signal late.
    assert!(limits.shutdown_timeout_ms + 5_000 <= super::pod::STOP_SECONDS as u64 * 1_000);
    assert!(limits.drain_timeout_ms + 10_000 < limits.shutdown_timeout_ms, "time is left for a snapshot");
}
