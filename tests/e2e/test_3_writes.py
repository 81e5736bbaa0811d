"""The operator dies after each of its own writes while it creates."""

import json
import os
import subprocess
import time

import pytest

import kube
from kube import CLUSTER, Region, kubectl, run, until
from test_1_create import RESTRICTED, install

TINY = Region("tiny", 1)
KILLED = 137
QUIET_S = 1.0  # an operator that has written nothing for that long waits for something
GROUP = {
    "name": "tiny", "primaryRegion": "tiny", "secretRef": {"name": "group-key"},
    "regions": [{"name": name, "endpoint": f"vector-search-region.{name}.svc.cluster.local:8082"} for name in ("tiny", "far")],
}  # fmt: skip
SPEC = {"region": "tiny", "shards": 1, "replicasPerShard": 1, "storage": {"size": "1Gi"}, "replicationGroup": GROUP}


@pytest.fixture(scope="module")
def rights(tmp_path_factory):
    """The chart's own service account, its rights and no more; its Deployment rests, the tests run the process."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TINY.name, "labels": RESTRICTED}})
    kube.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "group-key", "namespace": TINY.name},
        "stringData": {"group-key": "a-key-for-tests-that-only-this-group-holds-012345"},
    })  # fmt: skip
    install(TINY, crds=False)
    kubectl("-n", TINY.name, "scale", "deployment/meridian-operator", "--replicas=0")
    until(lambda: not kubectl("-n", TINY.name, "get", "pods", "-o", "name"), 60, "the operator's pod stays")
    run(kube.BED / "volumes", TINY.name, "5")
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": kubectl("-n", TINY.name, "create", "token", "meridian-operator", "--duration=2h").strip()}
    path = tmp_path_factory.mktemp("rights") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


class Mortal:
    """An operator that ends right after its first write, and is started again, until what is asked for stands."""

    def __init__(self, kubeconfig):
        self.kubeconfig, self.log = kubeconfig, ""

    def start(self):
        environment = {
            **os.environ, "KUBECONFIG": str(self.kubeconfig), "MERIDIAN_EXIT_AFTER_WRITES": "1",
            "WATCH_NAMESPACES": TINY.name, "ADMIN_ADDRESS": "127.0.0.1:18081", "OPTIONAL_APIS": "istio,strimzi",
            "NODE_IMAGE": "docker.io/meridian/node:e2e",
        }  # fmt: skip
        log = open(self.kubeconfig.parent / "operator.log", "ab")
        return subprocess.Popen([os.environ["OPERATOR"]], env=environment, stdout=log, stderr=log)

    def until(self, done, within, what):
        """How many lives it took, each of one write."""
        lives, end = 0, time.monotonic() + within
        while True:
            process, born = self.start(), time.monotonic()
            try:
                while process.poll() is None:
                    if time.monotonic() - born > QUIET_S and done():
                        return lives
                    assert time.monotonic() < end, f"not within {within} s, {lives} writes: {what}: {TINY.told()}\n{self.tail()}"
                    time.sleep(0.1)
            finally:
                process.kill()
                process.wait()
            assert process.returncode in (KILLED, -9), self.tail()
            lives += 1

    def tail(self):
        return (self.kubeconfig.parent / "operator.log").read_text()[-2000:]


@pytest.fixture(scope="module")
def operator(rights):
    return Mortal(rights)


def told(lives, began, what):
    print(f"\n  {what}: died {lives} times, {time.monotonic() - began:.0f} s")


def stands(count):
    pods = TINY.pods()
    voters = [len(TINY.ask(pod, "/api/v1/cluster").get("voters", [])) for pod in pods.values()]
    return TINY.is_ready() and voters == [count] * count


def test_it_creates(operator):
    began = time.monotonic()
    resource = {"apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster", "metadata": {"name": CLUSTER, "namespace": TINY.name}}
    kube.apply({**resource, "spec": SPEC})
    lives = operator.until(lambda: stands(1), 180, "create")
    told(lives, began, "create")
    assert lives > 10
    with TINY.http(timeout=10) as client:
        until(lambda: client.get("/collections").status_code == 200, 20, "the Service leads nowhere")
        made = client.put("/collections/few", json={"vectors": {"size": 4, "distance": "Dot"}})
        assert made.status_code == 200, made.text
        points = [{"id": n, "vector": [n, 1, 2, 3]} for n in range(100)]
        assert client.put("/collections/few/points?wait=true", json={"points": points}).status_code == 200
