use serde_json::{Value, json};

use super::{Claim, Owners, managed_fields_as_applied, mounts, name_collision, with_preconditions};
use crate::fixtures::{ALONE, MIRRORED, link, resource, valid};
use crate::names::{CLUSTER_LABEL, FIELD_MANAGER};
use crate::render;

const CLUSTER: &str = "5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e11";
const LINK: &str = "5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e13";

fn owners() -> Owners {
    Owners::of(&resource(ALONE), &[link(MIRRORED)])
}

fn owned(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "meridiandb.io/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn check(meta: Value, expected: &Claim) {
    assert_eq!(owners().claim(&json!({"metadata": meta})), *expected, "{meta}");
}

fn marks() -> Value {
    json!({"labels": {"meridiandb.io/cluster": "vector-search"}, "annotations": {"meridiandb.io/applied": "0123456789"}})
}

fn with(mut meta: Value, field: &str, value: Value) -> Value {
    meta[field] = value;
    meta
}

#[test]
fn objects_of_the_cluster_and_of_its_links_are_ours_by_uid() {
    check(json!({"ownerReferences": owned("VectorCluster", "vector-search", CLUSTER)}), &Claim::Ours);
    // An object of a link as an earlier release left it, without the annotation of this one.
    check(json!({"ownerReferences": owned("ReplicationLink", "from-us-east", LINK)}), &Claim::Ours);
    let other = link(&MIRRORED.replace("clusterRef: {name: vector-search}", "clusterRef: {name: other}"));
    let owners = Owners::of(&resource(ALONE), &[other]);
    let held = json!({"metadata": {"ownerReferences": owned("ReplicationLink", "from-us-east", LINK)}});
    assert_eq!(owners.claim(&held), Claim::Foreign("ReplicationLink from-us-east".into()));
}

#[test]
fn a_name_or_a_label_alone_makes_nothing_ours() {
    let nobody = Claim::Foreign("somebody else".into());
    check(json!({"name": "vector-search"}), &nobody);
    check(json!({"labels": {"meridiandb.io/cluster": "vector-search"}}), &nobody);
    check(with(marks(), "labels", json!({"meridiandb.io/cluster": "another"})), &nobody);
    let helm = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "u", "controller": true}]);
    check(with(marks(), "ownerReferences", helm), &Claim::Foreign("Deployment shop".into()));
    let neighbor = owned("VectorCluster", "other", "u");
    check(with(marks(), "ownerReferences", neighbor), &Claim::Foreign("VectorCluster other".into()));
}

#[test]
fn an_orphan_with_our_marks_is_adopted() {
    check(marks(), &Claim::Orphaned);
    // An owner that is not the controller does not count.
    let helper = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]);
    check(with(marks(), "ownerReferences", helper), &Claim::Orphaned);
}

#[test]
fn a_key_secret_is_kept_by_its_label_and_only_without_an_owner() {
    let secret = |meta: Value| json!({"kind": "Secret", "metadata": meta});
    let label = || json!({"labels": {CLUSTER_LABEL: "vector-search"}});
    assert!(owners().keeps(&secret(label())));
    assert!(!owners().keeps(&secret(json!({}))));
    assert!(!owners().keeps(&secret(json!({"labels": {CLUSTER_LABEL: "another"}}))));
    assert!(!owners().keeps(&secret(with(label(), "deletionTimestamp", json!("2026-01-01T00:00:00Z")))));
    assert!(!owners().keeps(&secret(with(label(), "ownerReferences", json!([{"kind": "Helm", "name": "shop"}])))));
    assert!(!owners().keeps(&json!({"kind": "ConfigMap", "metadata": label()})));
}

#[test]
fn objects_of_an_earlier_resource_of_the_name_are_awaited() {
    check(with(marks(), "ownerReferences", owned("VectorCluster", "vector-search", "earlier")), &Claim::Leaving);
    check(with(marks(), "ownerReferences", owned("ReplicationLink", "from-us-east", "earlier")), &Claim::Leaving);
    let ours = json!({"ownerReferences": owned("VectorCluster", "vector-search", CLUSTER)});
    check(with(ours, "deletionTimestamp", json!("2026-01-01T00:00:00Z")), &Claim::Leaving);
}

#[test]
fn an_apply_names_the_object_that_was_judged() {
    let live = json!({"metadata": {"uid": "u", "resourceVersion": "7", "name": "a"}});
    let sent = with_preconditions(json!({"metadata": {"name": "a"}}), &live);
    assert_eq!(sent, json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}}));
}

#[test]
fn our_update_entries_become_the_apply_entry() {
    let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
    let of = |entries: Vec<Value>| json!({"metadata": {"managedFields": entries}});
    let other = entry("kubectl", "Update", json!({"f:z": {}}));
    let posted = entry(FIELD_MANAGER, "Update", json!({"f:spec": {"f:a": {}}}));
    let applied = entry(FIELD_MANAGER, "Apply", json!({"f:spec": {"f:b": {}}}));
    let mut status = posted.clone();
    status["subresource"] = json!("status");

    let union = entry(FIELD_MANAGER, "Apply", json!({"f:spec": {"f:a": {}, "f:b": {}}}));
    let wanted = json!([other, status, union]);
    assert_eq!(
        managed_fields_as_applied(&of(vec![other.clone(), posted.clone(), status.clone(), applied.clone()])),
        Some(wanted)
    );
    assert_eq!(managed_fields_as_applied(&of(vec![other, status, applied.clone()])), None);
    let mut older = posted;
    older["apiVersion"] = json!("v1beta1");
    assert_eq!(managed_fields_as_applied(&of(vec![older, applied])), None);
}

#[test]
fn a_stateful_set_mounts_its_configuration_and_certificates() {
    let cluster = valid(ALONE, &[]);
    let objects = render::cluster(&cluster, &render::as_declared(&cluster), crate::Apis::default());
    let set = objects.iter().find(|object| object.reference().kind == "StatefulSet").unwrap();
    let mounted: Vec<(String, String)> =
        mounts(set.as_json()).into_iter().map(|object| (object.kind, object.name)).collect();
    assert!(mounted.contains(&("Secret".into(), "vector-search-peer-tls".into())), "{mounted:?}");
    assert!(mounted.iter().any(|(kind, name)| kind == "ConfigMap" && name.starts_with("vector-search-s1-config-")));
    let service = objects.iter().find(|object| object.reference().kind == "Service").unwrap();
    assert_eq!(mounts(service.as_json()), []);
}

#[test]
fn of_two_colliding_names_the_older_goes_on() {
    let named = |name: &str, at: &str| {
        let metadata = format!("name: {name}, creationTimestamp: '2026-01-0{at}T00:00:00Z'");
        resource(&ALONE.replace("name: vector-search", &metadata))
    };
    let (a, peers, region) = (named("a", "2"), named("a-peers", "1"), named("a-region", "3"));
    let all = [a.clone(), peers.clone(), region.clone(), named("a-s1", "1"), named("b", "1")];
    let refused = |cluster| name_collision(cluster, &all).map(|refusal| refusal.to_string());
    assert!(refused(&a).is_some_and(|message| message.contains("VectorCluster a-peers")), "{:?}", refused(&a));
    assert_eq!(refused(&peers), None);
    assert!(refused(&region).is_some());
    assert_eq!(all[3..].iter().filter_map(refused).next(), None);
}
