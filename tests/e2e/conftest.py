"""Fixtures of the tests, and the information that a failure prints."""

import json
import os

import numpy
import pytest

import kube
from kube import CLUSTER, Region

US, EU = Region("us-east", 2), Region("eu-west", 1)


@pytest.fixture(scope="session")
def words():
    """N real word vectors."""
    count = int(os.environ.get("N", "20000"))
    with open(os.environ["DATA"]) as file:
        vectors = json.load(file)["vectors"]
    chosen = [values[:100] for _, values in zip(range(count), vectors.values())]
    assert len(chosen) == count
    return numpy.array(chosen, dtype=numpy.float32)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when != "call" or not report.failed:
        return
    for namespace in (US.name, EU.name, "idle"):
        seen = [kube.kubectl("-n", namespace, "get", "pods,pvc,vectorclusters,replicationlinks", "-o", "wide", check=False)]
        status = kube.kubectl("-n", namespace, "get", "vectorcluster", CLUSTER, "-o", "jsonpath={.status}", check=False)
        seen.append(status)
        for selector in ("app.kubernetes.io/name=meridian-operator", f"meridiandb.io/cluster={CLUSTER}"):
            seen.append(kube.kubectl("-n", namespace, "logs", "-l", selector, "--tail=25", "--prefix", check=False))
        seen.append(kube.kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:])
        report.sections.append((f"namespace {namespace}", "\n".join(seen)))
