"""The operator does not change objects of other owners and reports them; drift of its own objects is reverted."""

import kube
from conftest import US
from kube import CLUSTER, condition, kubectl, wait_until

SHOP = "shop"
LABELS = {"app": "shop"}
FOREIGN = [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SHOP}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": SHOP},
        "spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"]},
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{SHOP}-accepted"}, "data": {"mine": "yes"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{SHOP}-peer-ca"}, "stringData": {"mine": "yes"}},
    {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": SHOP},
        "spec": {"hosts": ["shop.example.com"], "http": [{"route": [{"destination": {"host": "shop"}}]}]},
    },
]  # fmt: skip


def foreign():
    """Each object with its resource version and owners."""
    return [kube.get(one["kind"].lower(), one["metadata"]["name"], US.name) for one in FOREIGN]


def test_foreign_objects_stay_unchanged_and_the_condition_names_them():
    for one in FOREIGN:
        one["metadata"]["namespace"] = US.name
    kube.apply(*FOREIGN)
    before = foreign()
    spec = {"region": "us-east", "shards": 1, "replicasPerShard": 1, "storage": {"size": "1Gi"}, "traffic": {"istio": {}}}
    kube.apply({"apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster", "metadata": {"name": SHOP, "namespace": US.name}, "spec": spec})
    progressing = lambda: condition(kube.get("vectorcluster", SHOP, US.name), "Progressing")
    conflict = lambda: (progressing().get("status"), progressing().get("reason")) == ("False", "NameConflict")
    wait_until(conflict, 60, lambda: f"no NameConflict: {progressing()}")
    named = lambda: all(f"{one['kind']} {one['metadata']['name']}" in progressing()["message"] for one in FOREIGN)
    wait_until(named, 60, lambda: f"not all are named: {progressing()}")
    assert foreign() == before
    kubectl("-n", US.name, "delete", "vectorcluster", SHOP, "--wait=true", "--cascade=foreground")
    assert foreign() == before
    for one in FOREIGN:
        kubectl("-n", US.name, "delete", one["kind"].lower(), one["metadata"]["name"])


def test_an_extra_key_in_the_selector_of_our_service_is_reverted():
    selector = lambda: kube.get("service", CLUSTER, US.name)["spec"]["selector"]
    before = selector()
    kube.patch("service", CLUSTER, US.name, {"spec": {"selector": {"nobody": "bears-this"}}})
    wait_until(lambda: selector() == before, 60, lambda: f"the selector is {selector()}")
    wait_until(US.is_serving, 60, "the Service does not answer")
