"""The operator is killed after each of its writes: while it creates, scales and rolls, and while optional objects change."""

import json
import os
import subprocess
import time

import pytest

import kube
from kube import CLUSTER, Region, kubectl, run, wait_until
from test_1_create import RESTRICTED, install

TINY = Region("tiny", 1)
KILLED = 137
IDLE_S = 1.0  # an operator that has written nothing for that long waits for something
GROUP = {
    "name": "tiny", "primary": {"region": "tiny"}, "secretRef": {"name": "group-key"},
    "regions": [{"name": name, "endpoint": f"vector-search-region.{name}.svc.cluster.local:8082"} for name in ("tiny", "far")],
}  # fmt: skip
SPEC = {"region": "tiny", "shards": 1, "replicasPerShard": 1, "storage": {"size": "1Gi"}, "replicationGroup": GROUP}


@pytest.fixture(scope="module")
def rights(tmp_path_factory):
    """A kubeconfig with the service account of the chart. Its Deployment is scaled to zero; the tests run the process."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TINY.name, "labels": RESTRICTED}})
    kube.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "group-key", "namespace": TINY.name},
        "stringData": {"group-key": "a-key-for-tests-that-only-this-group-holds-012345"},
    })  # fmt: skip
    install(TINY, crds=False)
    kubectl("-n", TINY.name, "scale", "deployment/meridian-operator", "--replicas=0")
    wait_until(lambda: not kubectl("-n", TINY.name, "get", "pods", "-o", "name"), 60, "the operator's pod stays")
    run(kube.BED / "volumes", TINY.name, "5")
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": kubectl("-n", TINY.name, "create", "token", "meridian-operator", "--duration=2h").strip()}
    path = tmp_path_factory.mktemp("rights") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


class DyingOperator:
    """An operator that ends right after its first write, the next one after its second, the next after its third, and so on
    in `turns`, until what is asked for stands. (Always after the first, it would die between each intent and its act.)"""

    def __init__(self, kubeconfig):
        self.kubeconfig, self.log = kubeconfig, ""

    def start(self, writes):
        environment = {
            **os.environ, "KUBECONFIG": str(self.kubeconfig), "MERIDIAN_EXIT_AFTER_WRITES": str(writes),
            "WATCH_NAMESPACES": TINY.name, "ADMIN_ADDRESS": "127.0.0.1:18081", "OPTIONAL_APIS": "istio,strimzi",
            "DEFAULT_IMAGE": "docker.io/meridian/node:e2e",
        }  # fmt: skip
        log = open(self.kubeconfig.parent / "operator.log", "ab")
        return subprocess.Popen([os.environ["OPERATOR"]], env=environment, stdout=log, stderr=log)

    def run_until(self, done, within, what, turns=3):
        """Runs the operator until `done`; returns the number of runs."""
        runs, end = 0, time.monotonic() + within
        while True:
            process, born = self.start(1 + runs % turns), time.monotonic()
            try:
                while process.poll() is None:
                    if time.monotonic() - born > IDLE_S and done():
                        return runs
                    assert time.monotonic() < end, f"not within {within} s, {runs} runs: {what}: {TINY.waiting_for()}\n{self.tail()}"
                    time.sleep(0.1)
            finally:
                process.kill()
                process.wait()
            assert process.returncode in (KILLED, -9), self.tail()
            runs += 1

    def tail(self):
        return (self.kubeconfig.parent / "operator.log").read_text()[-2000:]


@pytest.fixture(scope="module")
def operator(rights):
    return DyingOperator(rights)


def report(runs, start, what):
    print(f"\n  {what}: died {runs} times, {time.monotonic() - start:.0f} s")


def stands(count):
    pods = TINY.pods()
    voters = [len(TINY.get_json(pod, "/api/v1/cluster").get("voters", [])) for pod in pods.values()]
    return TINY.is_ready() and voters == [count] * count


def test_it_creates(operator):
    start = time.monotonic()
    resource = {"apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster", "metadata": {"name": CLUSTER, "namespace": TINY.name}}
    kube.apply({**resource, "spec": SPEC})
    runs = operator.run_until(lambda: stands(1), 180, "create", turns=1)
    report(runs, start, "create")
    assert runs > 10
    with TINY.http(timeout=10) as client:
        wait_until(lambda: client.get("/collections").status_code == 200, 20, "the Service leads nowhere")
        made = client.put("/collections/few", json={"vectors": {"size": 4, "distance": "Dot"}})
        assert made.status_code == 200, made.text
        points = [{"id": n, "vector": [n, 1, 2, 3]} for n in range(100)]
        assert client.put("/collections/few/points?wait=true", json={"points": points}).status_code == 200


def count():
    """The points, once a pod behind the Service answers."""
    with TINY.http(timeout=10) as client:
        ask = lambda: client.post("/collections/few/points/count", json={})
        wait_until(lambda: ask().status_code == 200, 20, "nobody counts")
        return ask().json()["result"]["count"]


def test_it_scales(operator):
    start = time.monotonic()
    TINY.patch(replicasPerShard=3)
    report(operator.run_until(lambda: stands(3), 240, "scale out"), start, "scale out")
    assert count() == 100


def test_it_rolls(operator):
    start = time.monotonic()
    uids = {pod["metadata"]["uid"] for pod in TINY.pods().values()}
    TINY.patch(collectionDefaults={"hnswConfig": {"m": 24}})
    fresh = lambda: stands(3) and not uids & {pod["metadata"]["uid"] for pod in TINY.pods().values()}
    report(operator.run_until(fresh, 240, "roll"), start, "roll")
    assert count() == 100


def link(mode):
    kafka = {"via": "Mirror", "bootstrapServers": "kafka.far.svc.cluster.local:9092", "topic": "vector-deltas"}
    return {
        "apiVersion": "meridiandb.io/v1alpha1", "kind": "ReplicationLink", "metadata": {"name": "from-far", "namespace": TINY.name},
        "spec": {
            "clusterRef": {"name": CLUSTER}, "source": {"region": "far"}, "transport": {"kafka": kafka}, "state": "Running",
            "mirrorMaker2": {"mode": mode, "bootstrapServers": "kafka.tiny.svc.cluster.local:9092"},
        },
    }  # fmt: skip


def names(*kinds):
    found = kubectl("-n", TINY.name, "get", ",".join(kinds), "-l", f"meridiandb.io/cluster={CLUSTER}", "-o", "name")
    return sorted(line.split(".")[0] for line in found.split())


OPTIONAL = ("kafkamirrormaker2s", "virtualservices", "destinationrules", "deployments")


def test_optional_objects_come_and_go(operator):
    start = time.monotonic()
    TINY.patch(traffic={"istio": {"hosts": ["search.example.com"]}})
    kube.apply(link("Strimzi"))
    come = lambda: names(*OPTIONAL) == ["destinationrule", "kafkamirrormaker2", "virtualservice"]
    runs = operator.run_until(come, 60, lambda: names(*OPTIONAL))
    TINY.patch(traffic=None)
    kube.apply(link("Deployment"))
    runs += operator.run_until(lambda: names(*OPTIONAL) == ["deployment"], 60, "mesh and Strimzi objects go, a Deployment comes")
    kube.apply(link("Strimzi"))
    runs += operator.run_until(lambda: names(*OPTIONAL) == ["kafkamirrormaker2"], 60, "the Deployment goes, Strimzi's object comes")
    kubectl("-n", TINY.name, "delete", "replicationlink", "from-far")
    runs += operator.run_until(lambda: names(*OPTIONAL) == [], 60, "Strimzi's object goes")
    report(runs, start, "optional objects")


def test_what_an_older_release_left_is_removed(operator):
    owner = {
        "apiVersion": "meridiandb.io/v1alpha1",
        "kind": "VectorCluster",
        "name": CLUSTER,
        "uid": kubectl("-n", TINY.name, "get", "vectorcluster", CLUSTER, "-o", "jsonpath={.metadata.uid}").strip(),
        "controller": True,
    }
    labels = {"meridiandb.io/cluster": CLUSTER}
    meta = {"name": "left", "namespace": TINY.name, "labels": labels, "ownerReferences": [owner]}
    kube.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 1}]}},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"no": "pod"}}}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {"podSelector": {"matchLabels": {"no": "pod"}}}},
    )  # fmt: skip
    left = lambda: [n for n in names("services", "poddisruptionbudgets", "networkpolicies") if n.endswith("/left")]
    operator.run_until(lambda: not left(), 60, left)


def test_it_comes_to_rest_and_goes(operator):
    operator.run_until(lambda: stands(3), 240, "all that came and went, rolled through")
    assert count() == 100
    kubectl("-n", TINY.name, "delete", "vectorcluster", CLUSTER, "--cascade=foreground", "--timeout=60s")
    wait_until(lambda: not TINY.pods(), 60, "pods stay")
