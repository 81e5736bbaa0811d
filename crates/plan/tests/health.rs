//! The health check of Argo CD, run by Lua 5.1 as Argo CD does, on statuses as the operator writes them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use meridian_crd::{VectorCluster, VectorClusterStatus};
use meridian_model::{ClusterId, ShardNumber};
use meridian_plan::ownership::{Blocked, Cause};
use meridian_plan::render::ObjectRef;
use meridian_plan::report::{self, Outcome};
use meridian_plan::{Observed, ObservedPod, ObservedShard, Refusal, Settings, ValidCluster, next_step};
use mlua::{Lua, LuaSerdeExt, Table};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/argo-cd/health.yaml");

/// Status and message that Argo CD shows.
fn health(resource: &Value) -> (String, String) {
    let map: Value = serde_saphyr::from_str(&fs::read_to_string(FILE).unwrap()).unwrap();
    let script = &map["data"]["resource.customizations.health.meridiandb.io_VectorCluster"];
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(resource).unwrap()).unwrap();
    let health: Table = lua.load(script.as_str().unwrap()).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

fn resource() -> VectorCluster {
    serde_json::from_value(json!({
        "apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster",
        "metadata": {"name": "a", "namespace": "b", "generation": 2},
        "spec": {"region": "us-east", "shards": 1, "replicasPerShard": 3, "storage": {"size": "1Gi"}},
    }))
    .unwrap()
}

/// The health that Argo CD shows for a cluster with this observation and outcome.
fn shown(observed: &Observed, outcome: Outcome<'_>) -> (String, String) {
    let mut resource = resource();
    let cluster = ValidCluster::parse(&resource, &[], ClusterId(1), &Settings::default()).unwrap();
    let now = Time(Timestamp::from_second(1).unwrap());
    let step = next_step(&cluster, observed);
    resource.status = Some(report::cluster(&cluster, observed, &step, outcome, &VectorClusterStatus::default(), &now));
    health(&serde_json::to_value(&resource).unwrap())
}

fn pods(failure_reason: Option<&str>) -> Observed {
    let pod = ObservedPod {
        uid: "u".into(),
        deleting: false,
        ready: false,
        outdated: false,
        answer: None,
        keys: None,
        failure_reason: failure_reason.map(Into::into),
        ..ObservedPod::default()
    };
    let seen = ObservedShard { pods: BTreeMap::from([(0, pod)]), ..ObservedShard::default() };
    Observed { shards: BTreeMap::from([(ShardNumber::FIRST, seen)]), ..Observed::default() }
}

fn blocked(cause: Cause, message: &str) -> Blocked {
    let object = ObjectRef { api_version: "v1".into(), kind: "Service".into(), name: "a".into() };
    Blocked { object, cause, message: message.into() }
}

#[test]
fn a_cluster_in_creation_is_progressing() {
    assert_eq!(health(&serde_json::to_value(resource()).unwrap()).0, "Progressing");
    assert_eq!(shown(&pods(None), Outcome::default()).0, "Progressing");
    let leaving = [blocked(Cause::Leaving, "is being deleted")];
    assert_eq!(shown(&pods(None), Outcome { blocked: &leaving, ..Outcome::default() }).0, "Progressing");
}

#[test]
fn faults_that_only_a_user_can_repair_are_degraded_with_the_reason() {
    for cause in [Cause::NameConflict, Cause::Rejected] {
        let blocked = [blocked(cause, "must be a quantity")];
        let outcome = Outcome { blocked: &blocked, ..Outcome::default() };
        let expected = ("Degraded".to_owned(), "Service a: must be a quantity".to_owned());
        assert_eq!(shown(&pods(None), outcome), expected, "{cause:?}");
    }
    let refusal = Refusal { field: "spec.region", fault: "no".into() };
    assert_eq!(shown(&pods(None), Outcome { refusal: Some(&refusal), ..Outcome::default() }).0, "Degraded");
}

#[test]
fn a_wrong_image_is_degraded_and_named() {
    let failure_reason = "ImagePullBackOff: Back-off pulling image \"example.com/node:typo\"";
    let (status, message) = shown(&pods(Some(failure_reason)), Outcome::default());
    assert_eq!(status, "Degraded");
    assert!(message.contains("pod a-s1-0: ImagePullBackOff") && message.contains("node:typo"), "{message}");
}
