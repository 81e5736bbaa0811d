//! Whole turns against an API server in memory. Pods never answer: these tests are about objects.

use k8s_openapi::ByteString;
use meridian_crd::VectorCluster;
use meridian_model::ShardNumber;
use meridian_plan::{Apis, Observed, ObservedPod, ObservedShard, Settings};
use meridian_proto::topology::{Identity, PodStatus, ReplicaStatus};
use serde_json::{Value, json};

use super::turn;
use crate::context::Context;
use crate::metrics::Metrics;
use crate::testing::{ApiServer, Refusal};

const NAMESPACE: &str = "us-east";
const NAME: &str = "vector-search";
const UID: &str = "5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e11";
const LINK_UID: &str = "5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e13";

struct Bed {
    server: ApiServer,
    context: Context,
}

fn resource(uid: &str) -> Value {
    json!({
        "apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": uid, "generation": 1},
        "spec": {
            "region": "us-east", "shards": 1, "replicasPerShard": 3, "storage": {"size": "1Gi"},
            "resources": {"limits": {"memory": "1Gi"}},
            "replicationGroup": {"name": "g", "primary": {"region": "eu-west"}, "secretRef": {"name": "group-key"}, "regions": [
                {"name": "us-east", "endpoint": "a.us-east:8082"}, {"name": "eu-west", "endpoint": "b.eu-west:8082"}]},
            "traffic": {"istio": {}},
        },
    })
}

fn link() -> Value {
    json!({
        "apiVersion": "meridiandb.io/v1alpha1", "kind": "ReplicationLink",
        "metadata": {"name": "from-eu-west", "namespace": NAMESPACE, "uid": LINK_UID, "generation": 1},
        "spec": {
            "clusterRef": {"name": NAME}, "source": {"region": "eu-west"}, "state": "Running",
            "transport": {"kafka": {"via": "Mirror", "bootstrapServers": "kafka.eu-west:9092"}},
            "mirrorMaker2": {"mode": "Deployment", "bootstrapServers": "kafka.us-east:9092"},
        },
    })
}

impl Bed {
    fn new() -> Self {
        let server = ApiServer::default();
        let apis = Apis { istio: true, strimzi: false };
        let context = Context::new(server.client(), Settings::default(), apis, Metrics::default());
        let context = context.with_rolls(vec![Some(NAMESPACE.into())], 1);
        let bed = Self { server, context };
        bed.server.seed("vectorclusters", resource(UID));
        bed
    }

    fn object(&self, plural: &str, name: &str) -> Value {
        self.server.get(plural, NAMESPACE, name)
    }

    /// Runs one turn; returns the writes.
    async fn turn(&self) -> Vec<String> {
        let cached: VectorCluster = serde_json::from_value(self.object("vectorclusters", NAME)).unwrap();
        self.server.writes();
        turn(&cached, &self.context).await.unwrap();
        self.server.writes()
    }

    /// Runs three turns of each of these clusters.
    async fn turns_of(&self, names: &[&str]) {
        for name in names.iter().cycle().take(3 * names.len()) {
            let cached: VectorCluster = serde_json::from_value(self.object("vectorclusters", name)).unwrap();
            turn(&cached, &self.context).await.unwrap();
        }
    }

    /// Runs turns until one writes nothing.
    async fn settle(&self) {
        for _ in 0..10 {
            if self.turn().await.is_empty() {
                return;
            }
        }
        panic!("every turn writes: {:?}", self.turn().await);
    }

    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.object("vectorclusters", NAME)["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn edit(&self, change: impl Fn(&mut Value)) {
        let mut resource = self.object("vectorclusters", NAME);
        change(&mut resource["spec"]);
        resource["metadata"]["generation"] = (resource["metadata"]["generation"].as_i64().unwrap() + 1).into();
        self.server.seed("vectorclusters", resource);
    }
}

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}});
    for (key, value) in rest.as_object().unwrap() {
        object[key] = value.clone();
    }
    object
}

#[tokio::test]
async fn foreign_objects_stay_unchanged_and_the_condition_names_them() {
    let bed = Bed::new();
    let foreign = [
        ("services", object("v1", "Service", NAME, json!({"spec": {"selector": {"app": "shop"}}}))),
        (
            "networkpolicies",
            object("networking.k8s.io/v1", "NetworkPolicy", NAME, json!({"spec": {"podSelector": {}}})),
        ),
        ("configmaps", object("v1", "ConfigMap", "vector-search-accepted", json!({"data": {"a": "b"}}))),
        ("secrets", object("v1", "Secret", "vector-search-peer-ca", json!({"data": {}}))),
        (
            "virtualservices",
            object("networking.istio.io/v1", "VirtualService", NAME, json!({"spec": {"hosts": ["shop"]}})),
        ),
    ];
    for (plural, object) in &foreign {
        bed.server.seed(plural, object.clone());
    }
    let before: Vec<Value> = foreign
        .iter()
        .map(|(plural, object)| bed.object(plural, object["metadata"]["name"].as_str().unwrap()))
        .collect();
    bed.settle().await;
    for ((plural, object), before) in foreign.iter().zip(before) {
        assert_eq!(bed.object(plural, object["metadata"]["name"].as_str().unwrap()), before);
    }
    let (status, reason, message) = bed.condition("Progressing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NameConflict"));
    for named in [
        "Service vector-search:",
        "NetworkPolicy vector-search:",
        "ConfigMap vector-search-accepted:",
        "Secret vector-search-peer-ca:",
        "VirtualService vector-search:",
    ] {
        assert!(message.contains(named), "{named} is not in {message}");
    }
    // Other objects exist; the pods' certificate would need the authority that was not stored.
    assert!(!bed.object("services", "vector-search-peers").is_null());
    assert!(
        bed.object("secrets", "vector-search-peer-tls").is_null()
            && bed.object("statefulsets", "vector-search-s1").is_null()
    );
}

#[tokio::test]
async fn a_freed_name_is_taken_and_an_edit_is_applied_at_once() {
    let bed = Bed::new();
    bed.server.seed("services", object("v1", "Service", NAME, json!({"spec": {"selector": {"app": "shop"}}})));
    bed.settle().await;
    bed.server.remove("services", NAMESPACE, NAME);
    assert_eq!(bed.turn().await, Vec::<String>::new(), "tried again before its minute was over");
    bed.context.refusals.retain(&(NAMESPACE.into(), NAME.into()), &std::collections::BTreeSet::new());
    bed.settle().await;
    assert!(!bed.object("services", NAME).is_null());
    assert_ne!(bed.condition("Progressing").1, "NameConflict");
}

#[tokio::test]
async fn at_rest_nothing_is_written_and_all_is_owned_by_apply() {
    let bed = Bed::new();
    bed.server.seed("replicationlinks", link());
    bed.settle().await;
    assert!(!bed.object("deployments", "from-eu-west-mm2").is_null());
    bed.server.change_all(|plural, object| {
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let ours = entry["manager"] == "meridian-operator";
            assert!(!ours || entry["operation"] == "Apply", "{plural}: {entry}");
        }
    });
}

#[tokio::test]
async fn an_unwanted_field_is_removed_although_a_post_created_it() {
    let bed = Bed::new();
    bed.settle().await;
    let resources = |bed: &Bed| {
        let set = bed.object("statefulsets", "vector-search-s1");
        set["spec"]["template"]["spec"]["containers"][0]["resources"].clone()
    };
    assert_eq!(resources(&bed)["limits"]["memory"], "1Gi");
    bed.edit(|spec| spec["resources"] = json!({"requests": {"cpu": "1"}}));
    bed.settle().await;
    assert_eq!(resources(&bed), json!({"requests": {"cpu": "1"}, "limits": {}}));
}

#[tokio::test]
async fn an_extra_key_in_our_selector_is_reverted() {
    let bed = Bed::new();
    bed.settle().await;
    let ours = bed.object("services", NAME)["spec"]["selector"].clone();
    bed.server.change_all(|plural, object| {
        if plural == "services" {
            object["spec"]["selector"]["nobody"] = "bears this".into();
        }
    });
    bed.settle().await;
    assert_eq!(bed.object("services", NAME)["spec"]["selector"], ours);
    assert!(bed.object("services", "vector-search-peers")["spec"]["selector"].get("nobody").is_none());
}

#[tokio::test]
async fn an_upgrade_keeps_the_objects_of_links_and_prunes_them_with_their_link() {
    let bed = Bed::new();
    bed.server.seed("replicationlinks", link());
    bed.settle().await;
    // The state that an earlier release left: hashes that no current object has.
    bed.server.change_all(|_, object| {
        if let Some(hash) = object["metadata"]["annotations"].get_mut("meridiandb.io/applied") {
            *hash = "of-another-release".into();
        }
    });
    let uid = bed.object("deployments", "from-eu-west-mm2")["metadata"]["uid"].clone();
    bed.settle().await;
    assert_eq!(bed.object("deployments", "from-eu-west-mm2")["metadata"]["uid"], uid);
    assert_ne!(bed.condition("Progressing").1, "NameConflict");
    // A Deployment of another owner has our label.
    let mut neighbor = object("apps/v1", "Deployment", "shop", json!({"spec": {}}));
    neighbor["metadata"]["labels"] = json!({"meridiandb.io/cluster": NAME});
    bed.server.seed("deployments", neighbor);
    let mut direct = link();
    direct["spec"]["transport"] = json!({"direct": {}});
    direct["spec"].as_object_mut().unwrap().remove("mirrorMaker2");
    bed.server.seed("replicationlinks", direct);
    bed.settle().await;
    assert_eq!(bed.server.names("deployments"), ["shop"]);
}

#[tokio::test]
async fn orphaned_objects_and_those_of_a_restored_backup_are_adopted() {
    for restored in [false, true] {
        let bed = Bed::new();
        bed.settle().await;
        bed.server.change_all(|_, object| {
            let meta = object["metadata"].as_object_mut().unwrap();
            meta.remove("ownerReferences");
            if restored {
                meta.remove("managedFields");
            }
        });
        let before = bed.object("services", NAME)["metadata"]["uid"].clone();
        let secret = bed.object("secrets", "vector-search-peer-ca")["data"].clone();
        let mut again = resource("5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1eff");
        again["metadata"]["generation"] = 1.into();
        bed.server.seed("vectorclusters", again);
        bed.settle().await;
        for (plural, name) in
            [("services", NAME), ("statefulsets", "vector-search-s1"), ("configmaps", "vector-search-accepted")]
        {
            let owners = bed.object(plural, name)["metadata"]["ownerReferences"].clone();
            assert_eq!(owners[0]["uid"], "5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1eff", "{plural} {name}");
        }
        assert_eq!(bed.object("services", NAME)["metadata"]["uid"], before, "it was made anew");
        assert_eq!(bed.object("secrets", "vector-search-peer-ca")["data"], secret, "a new authority");
        assert_ne!(bed.condition("Progressing").1, "NameConflict");
    }
}

#[tokio::test]
async fn a_conflict_on_the_resource_version_is_read_again_at_once() {
    let bed = Bed::new();
    bed.settle().await;
    bed.server.change_all(|plural, object| {
        if plural == "services" {
            object["spec"]["selector"] = json!({"app": "edited"});
        }
    });
    bed.server.race(2);
    bed.turn().await;
    assert_eq!(bed.object("services", NAME)["spec"]["selector"]["meridiandb.io/cluster"], NAME);
}

#[tokio::test]
async fn a_refused_edit_does_not_stop_healing() {
    let bed = Bed::new();
    bed.settle().await;
    bed.edit(|spec| {
        spec["region"] = "mars".into();
        spec["replicasPerShard"] = 5.into();
    });
    bed.settle().await;
    bed.server.remove("services", NAMESPACE, NAME);
    bed.settle().await;
    assert!(!bed.object("services", NAME).is_null(), "the Service stays away while the spec is refused");
    assert_eq!(bed.object("statefulsets", "vector-search-s1")["spec"]["replicas"], 3);
    assert_eq!(bed.condition("Accepted").0, "False");
    assert!(bed.condition("Ready").2.contains("mars"), "{:?}", bed.condition("Ready"));
    // An edited ConfigMap does not count as a spec.
    bed.server.change_all(|plural, object| {
        if plural == "configmaps" && object["metadata"]["name"] == "vector-search-accepted" {
            let text = object["data"].to_string().replace("\\\"shards\\\":1", "\\\"shards\\\":9");
            object["data"] = serde_json::from_str(&text).unwrap();
        }
    });
    bed.server.remove("services", NAMESPACE, NAME);
    bed.turn().await;
    assert!(bed.object("services", NAME).is_null(), "went on with a spec that nobody accepted");
}

#[tokio::test]
async fn an_object_that_the_api_server_refuses_blocks_only_itself_and_is_reported() {
    let bed = Bed::new();
    let message = "spec.template.spec.containers[0].resources.limits[cpu]: Invalid value: \"lots\"";
    bed.server.refuse(vec![Refusal { plural: "statefulsets", patch_type: "", code: 422, message }]);
    bed.settle().await;
    assert!(
        !bed.object("services", NAME).is_null() && !bed.object("poddisruptionbudgets", "vector-search-s1").is_null()
    );
    let (status, reason, shown) = bed.condition("Progressing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ObjectRejected"));
    assert!(shown.contains("StatefulSet vector-search-s1") && shown.contains("Invalid value: \"lots\""), "{shown}");
    assert_eq!(bed.condition("Ready").0, "False");
    let events = bed.server.names("events").len();
    assert!((1..=2).contains(&events), "{events} Events");
    for _ in 0..5 {
        assert_eq!(bed.turn().await, Vec::<String>::new(), "an object that was refused is tried in every turn");
    }
    assert_eq!(bed.server.names("events").len(), events);
    bed.server.refuse(Vec::new());
    bed.edit(|spec| spec["resources"] = json!({"limits": {"cpu": "1"}}));
    bed.settle().await;
    assert!(!bed.object("statefulsets", "vector-search-s1").is_null());
    assert_ne!(bed.condition("Progressing").1, "ObjectRejected");
}

#[tokio::test]
async fn replicas_go_on_while_a_template_is_refused() {
    let bed = Bed::new();
    bed.settle().await;
    let template = bed.object("statefulsets", "vector-search-s1")["spec"]["template"].clone();
    let message = "no such image policy";
    bed.server.refuse(vec![Refusal { plural: "statefulsets", patch_type: "apply", code: 403, message }]);
    bed.edit(|spec| {
        spec["replicasPerShard"] = 5.into();
        spec["image"] = "example.com/bad:1".into();
    });
    bed.turn().await;
    bed.turn().await;
    let set = bed.object("statefulsets", "vector-search-s1");
    assert_eq!((&set["spec"]["replicas"], &set["spec"]["template"]), (&json!(5), &template));
    assert_eq!(bed.condition("Progressing").1, "ObjectRejected");
}

#[tokio::test]
async fn the_younger_of_two_clusters_with_colliding_names_does_nothing() {
    let bed = Bed::new();
    let mut older = resource("older");
    older["metadata"]["name"] = "vector".into();
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    bed.server.seed("vectorclusters", older);
    let mut younger = resource(UID);
    younger["metadata"]["name"] = "vector-peers".into();
    younger["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z".into();
    bed.server.seed("vectorclusters", younger.clone());
    bed.server.writes();
    turn(&serde_json::from_value(younger).unwrap(), &bed.context).await.unwrap();
    assert_eq!(bed.server.writes(), Vec::<String>::new());
    let conditions = bed.object("vectorclusters", "vector-peers")["status"]["conditions"].clone();
    let progressing =
        conditions.as_array().unwrap().iter().find(|condition| condition["type"] == "Progressing").unwrap();
    assert_eq!((&progressing["status"], &progressing["reason"]), (&json!("False"), &json!("NameConflict")));
}

#[tokio::test]
async fn the_configuration_of_a_held_template_is_not_pruned() {
    let bed = Bed::new();
    bed.settle().await;
    let before = bed.server.names("configmaps");
    bed.server.refuse(vec![Refusal { plural: "statefulsets", patch_type: "apply", code: 403, message: "denied" }]);
    bed.edit(|spec| spec["collectionDefaults"] = json!({"hnswConfig": {"m": 24}}));
    bed.turn().await;
    bed.turn().await;
    let after = bed.server.names("configmaps");
    assert!(before.iter().all(|name| after.contains(name)) && after.len() == before.len() + 1, "{before:?} {after:?}");
}

#[tokio::test]
async fn another_default_image_rolls_one_cluster_at_a_time_and_an_edit_does_not_wait() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut bed = Bed::new();
    bed.server.remove("vectorclusters", NAMESPACE, NAME);
    for name in NAMES {
        let mut cluster = resource(&format!("5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e0{name}"));
        cluster["metadata"]["name"] = name.into();
        bed.server.seed("vectorclusters", cluster);
    }
    let image = |bed: &Bed, name: &str| {
        let set = bed.object("statefulsets", &format!("{name}-s1"));
        set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
    };
    let old = bed.context.settings.default_image.clone();
    bed.turns_of(&NAMES).await;
    assert!(NAMES.iter().all(|name| image(&bed, name) == old), "new clusters waited for a slot");

    bed.context.settings.default_image = "node:next".into();
    bed.turns_of(&NAMES).await;
    let next = |bed: &Bed| NAMES.into_iter().filter(|name| image(bed, name) == "node:next").collect::<Vec<_>>();
    assert_eq!(next(&bed), ["a"], "maxConcurrentRollouts is 1");
    let waiting = bed.object("vectorclusters", "b")["status"]["operations"].to_string();
    assert!(waiting.contains("RolloutSlotFree") && waiting.contains("us-east/a rolls"), "{waiting}");

    let mut edited = bed.object("vectorclusters", "c");
    edited["spec"]["resources"] = json!({"limits": {"memory": "2Gi"}});
    bed.server.seed("vectorclusters", edited);
    // The replicas follow the spec while the template is held.
    let mut scaled = bed.object("vectorclusters", "b");
    scaled["spec"]["replicasPerShard"] = 5.into();
    bed.server.seed("vectorclusters", scaled);
    bed.turns_of(&NAMES).await;
    assert_eq!(next(&bed), ["a", "c"]);
    assert_eq!(bed.object("statefulsets", "b-s1")["spec"]["replicas"], 5);

    bed.server.remove("vectorclusters", NAMESPACE, "a");
    bed.turns_of(&["b"]).await;
    assert_eq!(image(&bed, "b"), "node:next");
}

const FORMER_KEY: &str = "the-former-key-of-the-group-0123456789";
const GROUP_KEY: &str = "the-key-of-the-group-0123456789-abcdef";

fn derived(group_key: &str) -> String {
    meridian_peer::GroupKey::new(group_key.as_bytes()).unwrap_or_else(|_| panic!("long enough")).api_key("g")
}

/// A Secret of the user, with or without the label that makes it the cluster's.
fn secret(name: &str, is_labeled: bool, keys: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        keys.iter().map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.as_bytes().to_vec())))).collect();
    let mut secret = object("v1", "Secret", name, json!({"data": data}));
    if is_labeled {
        secret["metadata"]["labels"] = json!({"meridiandb.io/cluster": NAME});
    }
    secret
}

impl Bed {
    /// The text of a key in a Secret.
    fn key(&self, secret: &str, key: &str) -> Option<String> {
        let bytes: ByteString =
            serde_json::from_value(self.object("secrets", secret)["data"].get(key)?.clone()).unwrap();
        Some(String::from_utf8(bytes.0).unwrap())
    }
}

#[tokio::test]
async fn an_api_key_follows_the_group_key_in_a_secret_that_bears_our_label_and_in_no_other() {
    for is_ours in [true, false] {
        let bed = Bed::new();
        bed.server.seed(
            "secrets",
            secret("group-key", false, &[("group-key", GROUP_KEY), ("group-key-previous", FORMER_KEY)]),
        );
        bed.server.seed("secrets", secret("vector-search-api-key", is_ours, &[("api-key", &derived(FORMER_KEY))]));
        let before = bed.object("secrets", "vector-search-api-key");
        bed.settle().await;
        let followed = bed.key("vector-search-api-key", "api-key").unwrap();
        if is_ours {
            assert_eq!(followed, derived(GROUP_KEY));
        } else {
            assert_eq!(bed.object("secrets", "vector-search-api-key"), before, "a Secret without our label is written");
        }
    }
}

#[tokio::test]
async fn a_kept_secret_is_completed_and_its_keys_stay() {
    let bed = Bed::new();
    bed.server.seed("secrets", secret("group-key", false, &[("group-key", GROUP_KEY)]));
    let former = [("api-key-previous", "former-key"), ("notes", "of the user")];
    bed.server.seed("secrets", secret("vector-search-api-key", true, &former));
    bed.settle().await;
    assert_eq!(bed.key("vector-search-api-key", "api-key"), Some(derived(GROUP_KEY)));
    for (key, text) in former {
        assert_eq!(bed.key("vector-search-api-key", key).as_deref(), Some(text));
    }
    // An unreadable Secret counts as existing.
    let mut unreadable = secret("vector-search-api-key", true, &[]);
    unreadable["data"] = json!({"api-key": ByteString(vec![0xff, 0xfe])});
    bed.server.seed("secrets", unreadable);
    let before = bed.object("secrets", "vector-search-api-key");
    bed.settle().await;
    assert_eq!(bed.object("secrets", "vector-search-api-key"), before);
}

#[tokio::test]
async fn a_key_that_a_user_adds_while_the_operator_completes_a_secret_wins() {
    let bed = Bed::new();
    bed.settle().await;
    bed.server.seed("secrets", secret("group-key", false, &[("group-key", GROUP_KEY)]));
    // In the form that the operator created, and as restored from a backup without annotations.
    for is_annotated in [true, false] {
        let mut edited = secret("vector-search-api-key", true, &[("api-key", "key-of-the-user")]);
        if is_annotated {
            edited["metadata"]["annotations"] = json!({"meridiandb.io/applied": "0123456789"});
        }
        bed.server.seed("secrets", edited);
        put_key_of_an_earlier_look(&bed).await;
        assert_eq!(bed.key("vector-search-api-key", "api-key").as_deref(), Some("key-of-the-user"));
    }
}

/// A turn that observed the Secret of the API key before it had a key.
async fn put_key_of_an_earlier_look(bed: &Bed) {
    let owners = meridian_plan::ownership::Owners { cluster: NAME.into(), uids: [UID.to_owned()].into() };
    let resource: VectorCluster = serde_json::from_value(bed.object("vectorclusters", NAME)).unwrap();
    let cluster =
        meridian_plan::ValidCluster::parse(&resource, &[], meridian_model::ClusterId(1), &Settings::default()).unwrap();
    let keys = meridian_plan::render::Keys { api_key: Some("minted".into()), group_key: GROUP_KEY.into() };
    let [wanted] =
        &meridian_plan::render::keys(&cluster, meridian_plan::Secrets { api_key: false, group_key: true }, &keys)[..]
    else {
        panic!("one Secret")
    };
    let api = crate::kinds::api(&bed.context.client, NAMESPACE, &wanted.reference()).unwrap();
    let target = crate::put::Target { context: &bed.context, api, owners: &owners };
    target.put(wanted, None).await.unwrap();
}

#[tokio::test]
async fn a_secret_without_our_label_that_lacks_the_key_is_named_and_not_written() {
    let bed = Bed::new();
    bed.server.seed("secrets", secret("group-key", false, &[("group-key", GROUP_KEY)]));
    bed.server.seed("secrets", secret("vector-search-api-key", false, &[("password", "hunter2")]));
    let before = bed.object("secrets", "vector-search-api-key");
    bed.settle().await;
    assert_eq!(bed.object("secrets", "vector-search-api-key"), before);
    let (_, reason, message) = bed.condition("Progressing");
    assert!(reason == "NameConflict" && message.contains("Secret vector-search-api-key"), "{reason}: {message}");
}

#[tokio::test]
async fn volumes_of_an_earlier_cluster_are_adopted_by_annotation() {
    const EARLIER: &str = "0123abcd-0000-4000-8000-000000000001";
    let bed = Bed::new();
    bed.settle().await;
    let certificate = bed.object("secrets", "vector-search-peer-tls")["data"].clone();
    let configured = |bed: &Bed| {
        let set = bed.object("statefulsets", "vector-search-s1");
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
        let name = volumes.iter().find_map(|volume| volume["configMap"]["name"].as_str()).unwrap().to_owned();
        bed.object("configmaps", &name)["data"].to_string()
    };
    assert!(configured(&bed).contains(UID));
    let message = "updates to statefulset spec for fields other than 'replicas' are forbidden";
    let claims = bed.object("statefulsets", "vector-search-s1")["spec"]["volumeClaimTemplates"].clone();
    let mut adopting = bed.object("vectorclusters", NAME);
    adopting["metadata"]["annotations"] = json!({"meridiandb.io/adopt": EARLIER});
    bed.server.seed("vectorclusters", adopting);
    bed.settle().await;
    assert!(configured(&bed).contains(EARLIER), "the nodes lack the id of their volumes");
    assert_eq!(bed.object("vectorclusters", NAME)["status"]["clusterId"], EARLIER);
    assert_ne!(bed.object("secrets", "vector-search-peer-tls")["data"], certificate, "it carries the former id");
    assert_eq!(bed.object("statefulsets", "vector-search-s1")["spec"]["volumeClaimTemplates"], claims, "{message}");
}

#[tokio::test]
async fn the_claims_of_adopted_volumes_bear_the_id_of_the_cluster() {
    let bed = Bed::new();
    let id = meridian_model::ClusterId(7);
    let resource: VectorCluster = serde_json::from_value(bed.object("vectorclusters", NAME)).unwrap();
    let cluster = meridian_plan::ValidCluster::parse(&resource, &[], id, &Settings::default()).unwrap();
    for ordinal in 0..2 {
        let name = format!("data-vector-search-s1-{ordinal}");
        let mut claim = object("v1", "PersistentVolumeClaim", &name, json!({"spec": {}}));
        claim["metadata"]["labels"] = json!({"meridiandb.io/cluster": NAME, "meridiandb.io/cluster-id": UID});
        bed.server.seed("persistentvolumeclaims", claim);
    }
    let identity = Identity {
        genesis: cluster.genesis(ShardNumber::FIRST),
        replica: meridian_model::ReplicaId(1),
        founders: Vec::new(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    };
    let pod = |answer| ObservedPod {
        uid: "u".into(),
        deleting: false,
        ready: true,
        outdated: false,
        answer: Some(answer),
        keys: None,
        failure_reason: None,
        ..ObservedPod::default()
    };
    let running = PodStatus::Running(Box::new(ReplicaStatus::new(identity.clone())));
    let pods = [(0, pod(running)), (1, pod(PodStatus::Foreign { identity }))].into();
    let shard = ObservedShard { pods, ..ObservedShard::default() };
    let observed = Observed { shards: [(ShardNumber::FIRST, shard)].into(), ..Observed::default() };
    let prerequisites = crate::observe::load_prerequisites(&bed.context, &resource).await.unwrap();
    assert!(crate::claims::follow_id(&bed.context, &cluster, &prerequisites.volumes, &observed).await.unwrap());
    let label = |ordinal: u16| {
        let claim = bed.object("persistentvolumeclaims", &format!("data-vector-search-s1-{ordinal}"));
        claim["metadata"]["labels"]["meridiandb.io/cluster-id"].as_str().unwrap().to_owned()
    };
    assert_eq!((label(0), label(1)), (id.to_string(), UID.to_owned()));
    let prerequisites = crate::observe::load_prerequisites(&bed.context, &resource).await.unwrap();
    assert!(!crate::claims::follow_id(&bed.context, &cluster, &prerequisites.volumes, &observed).await.unwrap());
}

#[tokio::test]
async fn an_image_that_knows_too_little_is_not_rendered_and_its_template_is_taken_back_without_a_slot() {
    let bed = Bed::new();
    bed.edit(|spec| spec["image"] = "node:old".into());
    bed.settle().await;
    let image = |bed: &Bed| {
        let set = bed.object("statefulsets", "vector-search-s1");
        set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image(&bed), "node:old");
    // Its template stands when a pod reports what it knows; another cluster has the only slot.
    bed.server.change_all(|plural, object| {
        if plural == "vectorclusters" {
            object["status"]["upgrade"] = json!({
                "behaviorVersion": 2, "proposedVersion": 2, "acceptedImage": "node:new",
                "images": [{"image": "node:old", "knownVersion": 1}, {"image": "node:new", "knownVersion": 2}],
            });
        }
    });
    let mut other = resource("other");
    other["metadata"]["name"] = "other".into();
    other["status"] = json!({"rollout": {"image": "x", "lastProgressTime": "2100-01-01T00:00:00Z", "updatedReplicas": 0, "wasReady": true}});
    bed.server.seed("vectorclusters", other);
    bed.settle().await;
    assert_eq!(image(&bed), "node:new");
    for type_ in ["Progressing", "Ready"] {
        let (status, reason, message) = bed.condition(type_);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "ImageTooOld"));
        assert!(message.starts_with("image node:old knows behavior version 1, and the shards use 2"), "{message}");
    }
    let events = bed.server.names("events").len();
    for _ in 0..3 {
        assert_eq!(bed.turn().await, Vec::<String>::new());
    }
    assert_eq!(bed.server.names("events").len(), events, "one event for each refusal");
    bed.edit(|spec| spec["image"] = "node:newer".into());
    bed.settle().await;
    assert_eq!(image(&bed), "node:newer", "an image that no pod has run is tried");
    assert_ne!(bed.condition("Progressing").1, "ImageTooOld");
}
