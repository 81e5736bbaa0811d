//! Comparison of live objects with rendered ones: a turn without a difference writes nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names::APPLIED_ANNOTATION;
use crate::ownership;
use crate::render::{Object, ObjectRef};

/// Returns true if `live` was last applied from `wanted`, still has all its fields, and everything that we wrote is
/// owned by our `Apply` entry.
///
/// The hash detects fields that are no longer wanted; the comparison detects edits by others.
#[must_use]
pub fn is_applied(live: &Value, wanted: &Object) -> bool {
    let hash = |object: &Value| object["metadata"]["annotations"][APPLIED_ANNOTATION].as_str().map(ToOwned::to_owned);
    hash(live) == hash(wanted.as_json())
        && shows(live, wanted.as_json())
        && ownership::managed_fields_as_applied(live).is_none()
}

/// Maps and lists that the API server treats as one value: their owner owns all of it, so additions by others are
/// drift. An extra key in the selector of a Service leaves it without endpoints; an extra port in a rule of a
/// NetworkPolicy opens that port.
const ATOMIC: [&str; 6] = ["selector", "labelSelector", "podSelector", "namespaceSelector", "ingress", "http"];

/// Returns true if every field of `wanted` is in `live` with an equal value. The API server adds fields to objects,
/// also inside lists, and rewrites quantities.
pub(crate) fn shows(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) if ATOMIC.contains(&key.as_str()) => equals(live, wanted),
                Some(live) => shows(live, wanted),
                // The API server often omits empty values.
                None => is_empty(wanted),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| shows(live, wanted))
        }
        (Value::String(live), Value::String(wanted)) => {
            live == wanted || quantity(live).is_some_and(|q| Some(q) == quantity(wanted))
        }
        _ => live == wanted,
    }
}

/// [`shows`], without additional fields in `live`: for values to which the API server adds none.
fn equals(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let of = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
            live.keys().chain(wanted.keys()).all(|key| {
                let (live, wanted) = (of(live, key), of(wanted, key));
                (is_empty(&live) && is_empty(&wanted)) || equals(&live, &wanted)
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| equals(live, wanted))
        }
        _ => shows(live, wanted),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// A Kubernetes quantity in thousandths, for comparison only.
fn quantity(text: &str) -> Option<u128> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: u128 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    let value = whole.parse::<u128>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    let factor = match suffix {
        "m" => return (thousandths == 0).then_some(value / 1000),
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1_u128 << 50,
        _ => return None,
    };
    value.checked_mul(factor)
}

/// Objects of ours that exist and are no longer wanted. StatefulSets are never among them, since pods leave one at a
/// time. A ConfigMap stays while a pod mounts it. The order is that of `existing`.
#[must_use]
pub fn to_prune(existing: &[ObjectRef], wanted: &[Object], mounted: &BTreeSet<String>) -> Vec<ObjectRef> {
    let wanted: BTreeSet<ObjectRef> = wanted.iter().map(Object::reference).collect();
    existing
        .iter()
        .filter(|object| !wanted.contains(object))
        .filter(|object| object.kind != "StatefulSet" && object.kind != "Secret")
        .filter(|object| object.kind != "ConfigMap" || !mounted.contains(&object.name))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn additions_and_rewrites_by_the_server_are_no_difference() {
        let wanted = json!({"a": {"cpu": "0.5", "mem": "1024Mi"}, "list": [{"x": 1}], "none": {}});
        let live = json!({"a": {"cpu": "500m", "mem": "1Gi", "more": 1}, "list": [{"x": 1, "y": 2}], "status": {}});
        assert!(shows(&live, &wanted));
    }

    #[test]
    fn an_edit_is_a_difference() {
        let wanted = json!({"a": {"cpu": "1"}, "list": [1, 2]});
        for live in [
            json!({"a": {"cpu": "2"}, "list": [1, 2]}),
            json!({"a": {}, "list": [1, 2]}),
            json!({"a": {"cpu": "1"}, "list": [1]}),
        ] {
            assert!(!shows(&live, &wanted), "{live}");
        }
    }

    #[test]
    fn additions_of_others_to_an_atomic_map_or_list_are_a_difference() {
        let wanted = json!({"spec": {"selector": {"a": "1"}, "ingress": [{"ports": [{"port": 8080}], "from": null}]}});
        let live =
            |selector: Value, port: Value| json!({"spec": {"selector": selector, "ingress": [{"ports": [port]}]}});
        assert!(shows(&live(json!({"a": "1"}), json!({"port": 8080})), &wanted));
        assert!(!shows(&live(json!({"a": "1", "extra": "x"}), json!({"port": 8080})), &wanted));
        assert!(!shows(&live(json!({"a": "1"}), json!({"port": 8080, "endPort": 9000})), &wanted));
        let service = json!({"spec": {"selector": {"a": "1"}, "ports": [{"port": 8080, "protocol": "TCP"}], "type": "ClusterIP"}});
        assert!(shows(&service, &json!({"spec": {"selector": {"a": "1"}, "ports": [{"port": 8080}]}})));
    }

    #[test]
    fn fields_owned_by_our_update_entry_are_applied_again() {
        let wanted = Object::from_json_for_tests(json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        let mut live = wanted.as_json().clone();
        live["metadata"]["managedFields"] = json!([{"manager": crate::names::FIELD_MANAGER, "operation": "Update"}]);
        assert!(!is_applied(&live, &wanted));
        live["metadata"]["managedFields"][0]["operation"] = json!("Apply");
        assert!(is_applied(&live, &wanted));
    }

    #[test]
    fn quantities_compare_by_value() {
        for (a, b) in [("1", "1000m"), ("1Gi", "1024Mi"), ("1.5", "1500m"), ("2k", "2000")] {
            assert_eq!(quantity(a), quantity(b), "{a} {b}");
        }
        assert_eq!(quantity("node.yaml"), None);
    }

    #[test]
    fn a_field_that_is_wanted_no_longer_is_applied_away() {
        let with = Object::from_json_for_tests(json!({"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}}));
        let without = Object::from_json_for_tests(json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        assert!(is_applied(with.as_json(), &with));
        assert!(!is_applied(with.as_json(), &without));
    }

    #[test]
    fn stateful_sets_secrets_and_mounted_files_are_never_pruned() {
        let object =
            |kind: &str, name: &str| ObjectRef { api_version: "v1".into(), kind: kind.into(), name: name.into() };
        let existing = [
            object("StatefulSet", "a"),
            object("Secret", "a"),
            object("ConfigMap", "old"),
            object("ConfigMap", "older"),
        ];
        let mounted = BTreeSet::from(["old".to_owned()]);
        assert_eq!(to_prune(&existing, &[], &mounted), [object("ConfigMap", "older")]);
    }
}
