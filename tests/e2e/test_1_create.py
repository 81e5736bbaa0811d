"""Two regions from the chart and the examples, loaded by the official client."""

import time

import numpy
from qdrant_client import QdrantClient, models

import kube
from conftest import EU, US
from kube import ROOT, condition, kubectl, run, wait_until

COLLECTION = "words"
READY_S = 180  # the machine may be busy; what it took is printed
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def install(region, crds):
    run(
        "helm", "install", "meridian", ROOT / "charts/meridian", "--namespace", region.name,
        "--set", f"crds.install={str(crds).lower()}", "--set", f"watchNamespaces={{{region.name}}}",
        "--set", "image.repository=docker.io/meridian/operator", "--set", "image.tag=e2e",
        "--set", "defaultImage=docker.io/meridian/node:e2e",
    )  # fmt: skip


def test_the_chart_installs_an_operator_in_each_namespace():
    for region in (US, EU):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": region.name, "labels": RESTRICTED}})
    install(US, crds=True)
    install(EU, crds=False)
    for region in (US, EU):
        kubectl("-n", region.name, "wait", "--for=condition=Available", "deployment/meridian-operator", "--timeout=120s")


def test_helm_test_passes_before_there_is_any_cluster():
    for region in (US, EU):
        run("helm", "test", "meridian", "--namespace", region.name)


def test_two_regions_become_ready():
    key = {"stringData": {"group-key": "a-key-for-tests-that-both-regions-hold-0123456789"}}
    for region in (US, EU):
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "group-key", "namespace": region.name}, **key})
    began = time.monotonic()
    kubectl("apply", "-f", ROOT / "examples/two-regions-direct")
    for region in (US, EU):
        region.wait_ready(READY_S)
        print(f"\n  {region.name} Ready after {time.monotonic() - began:.1f} s")
    linked = lambda: condition(kube.get("replicationlink", "from-us-east", EU.name), "Ready").get("status") == "True"
    wait_until(linked, 60, lambda: kubectl("-n", EU.name, "get", "replicationlinks", "-o", "yaml"))
    print(f"  link Ready after {time.monotonic() - began:.1f} s")


def test_words_go_in_through_the_service_and_are_found_in_both_regions(words):
    client = QdrantClient(url=US.url(), api_key=US.key(), timeout=60)
    client.create_collection(COLLECTION, vectors_config=models.VectorParams(size=100, distance=models.Distance.COSINE), replication_factor=3)
    began = time.monotonic()
    for at in range(0, len(words), 500):
        some = words[at : at + 500]
        ids = list(range(at, at + len(some)))
        client.upsert(COLLECTION, models.Batch(ids=ids, vectors=some.tolist(), payloads=[{"n": i} for i in ids]))
    print(f"\n  {len(words)} vectors in {time.monotonic() - began:.1f} s")
    far = QdrantClient(url=EU.url(), api_key=EU.key(), timeout=60)
    wait_until(lambda: far.count(COLLECTION).count == len(words), 60, lambda: f"eu-west has {far.count(COLLECTION)}")
    unit = words / numpy.linalg.norm(words, axis=1, keepdims=True)
    for name, one in (("us-east", client), ("eu-west", far)):
        found = 0
        for asked in range(0, len(words), len(words) // 50):
            true = set(numpy.argsort(-(unit @ unit[asked]))[:10].tolist())
            hits = one.query_points(COLLECTION, words[asked].tolist(), limit=10).points
            found += len(true & {hit.id for hit in hits})
        print(f"  recall@10 in {name}: {found / 500:.3f}")
        assert found >= 450, name
    assert client.get_collection(COLLECTION).config.params.replication_factor == 3
