"""Under load: killed processes and pods, scaling out and in, a lost volume, a rolling change, deletion and restoration."""

import itertools
import threading
import time

import pytest

from conftest import EU, US
from kube import CLUSTER, ROOT, kubectl, wait_until
from load import Load
from test_1_create import COLLECTION

HEAL_S = 180


@pytest.fixture(scope="module")
def load(words):
    load = Load(COLLECTION, US, (US, EU), words)
    load.start()
    yield load
    load.stop()


@pytest.fixture(autouse=True)
def counted(load):
    """Prints the results of the load during each test, and checks that every read was answered."""
    yield
    print(f"\n  {load.summary()}")
    unread, load.failed_reads, load.slowest_read, load.longest_pause = load.failed_reads, [], 0.0, 0.0
    assert not unread, unread[:3]


def all_ready():
    for region in (US, EU):
        region.wait_ready(HEAL_S)


def each_leader():
    """Shards in turn, five of them."""
    return itertools.islice(itertools.cycle([(US, 1), (US, 2), (EU, 1)]), 5)


def test_the_processes_of_five_leaders_are_killed(load):
    for region, shard in each_leader():
        pod = region.leader(shard)
        restarts = region.kill_process(pod)
        wait_until(
            lambda: region.pods()[pod]["status"]["containerStatuses"][0]["restartCount"] > restarts, HEAL_S,
            f"the kubelet did not restart {pod}",
        )  # fmt: skip
        wait_until(lambda: region.leaders().get(shard), HEAL_S, f"shard {shard} of {region.name} has no leader")
        wait_until(lambda: is_pod_ready(region, pod), HEAL_S, f"{pod} is not ready again")
    all_ready()


def is_pod_ready(region, name):
    conditions = region.pods().get(name, {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_the_pods_of_five_leaders_are_deleted(load):
    for region, shard in each_leader():
        pod = region.leader(shard)
        uid = region.pods()[pod]["metadata"]["uid"]
        kubectl("-n", region.name, "delete", "pod", pod, "--wait=false")
        wait_until(lambda: region.pods().get(pod, {}).get("metadata", {}).get("uid", uid) != uid, HEAL_S, f"{pod} did not go")
        wait_until(lambda: is_pod_ready(region, pod), HEAL_S, f"{pod} is not ready again")
    all_ready()


@pytest.fixture
def operators_die():
    """The pods of the operators are killed repeatedly."""
    stop = threading.Event()

    def kill():
        while not stop.wait(4):
            US.kill_operator()
            EU.kill_operator()

    thread = threading.Thread(target=kill)
    thread.start()
    yield stop.set
    stop.set()
    thread.join()


def replicas(region):
    voters = [len(region.get_json(pod, "/api/v1/cluster").get("voters", [])) for pod in region.pods().values()]
    return voters


def scale(count):
    US.patch(replicasPerShard=count)
    began = time.monotonic()
    US.wait_ready(HEAL_S * 2)
    wait_until(lambda: len(US.pods()) == 2 * count, 30, lambda: f"pods are {sorted(US.pods())}")
    wait_until(lambda: set(replicas(US)) == {count}, 30, lambda: f"voters are {replicas(US)}")
    print(f"\n  {count} replicas after {time.monotonic() - began:.0f} s")


def test_replicas_go_out_and_in_and_out(load, operators_die):
    scale(5)
    scale(3)
    operators_die()
    scale(5)


def test_a_lost_volume_is_replaced(load):
    pod = f"{CLUSTER}-s1-0"
    before = US.get_json(US.pods()[pod], "/api/v1/cluster")["replica"]
    kubectl("-n", US.name, "delete", "pvc", f"data-{pod}", "--wait=false")
    kubectl("-n", US.name, "delete", "pod", pod, "--wait=false")
    wait_until(lambda: US.get_json(US.pods()[pod], "/api/v1/cluster").get("replica", before) != before, HEAL_S, f"{pod} is no new replica: {US.waiting_for()}")
    all_ready()


def test_a_changed_setting_rolls_leader_last(load, operators_die):
    uids = lambda: {name: pod["metadata"]["uid"] for name, pod in US.pods().items()}
    before = uids()
    US.patch(collectionDefaults={"hnswConfig": {"m": 24}})
    wait_until(lambda: uids() != before, HEAL_S, lambda: f"no pod is rolled: {US.waiting_for()}")
    operators_die()
    fresh = lambda: all(uid != before[name] for name, uid in uids().items())
    wait_until(fresh, HEAL_S * 3, lambda: f"not all pods are new: {US.waiting_for()}")
    all_ready()


def test_what_is_deleted_and_applied_again_is_there_again(load):
    load.stop()
    for region in (US, EU):
        kubectl("-n", region.name, "delete", "vectorcluster", CLUSTER, "--wait=true", "--cascade=foreground")
        wait_until(lambda: not region.pods(), HEAL_S, lambda: f"pods stay: {sorted(region.pods())}")
    kubectl("apply", "-f", ROOT / "examples/two-regions-direct")
    for region in (US, EU):
        region.forget_address()
    all_ready()
    for region in (US, EU):
        # A pod that is ready is behind its Service a moment later: the endpoints' controller and kube-proxy come after the operator.
        wait_until(region.is_serving, 30, f"the Service of {region.name} does not answer")
    load.start()


def test_nothing_is_lost(load, words):
    before = load.acknowledged
    wait_until(lambda: load.acknowledged >= before + 100, 60, lambda: f"no load: {load.summary()}")
    load.stop()
    for region in (US, EU):
        wait_until(lambda: not load.lost(region), 30, lambda: f"lost in {region.name}: {list(load.lost(region).items())[:5]}")
        with region.http(timeout=30) as client:
            answer = client.post(f"/collections/{COLLECTION}/points/count", json={"filter": {"must": [{"key": "n", "range": {"gte": 0}}]}})
            live = answer.json()["result"]["count"]
        print(f"\n  {region.name}: {live} points, none lost")
        assert live >= len(words)
    alike = lambda: len({digest for shard in EU.digests().values() for digest in shard}) == 1
    wait_until(alike, 60, lambda: f"digests of eu-west differ: {EU.digests()}")
