"""One group of three processes, started directly: their exit codes, and their recovery."""

import shutil
import signal
import subprocess
import time

import httpx
import pytest

from regions import BIN, Local, leader, wait_until

COLLECTION = "/collections/kept"
POINTS = f"{COLLECTION}/points"
KEPT = 300
WITHIN_S = 30
STOP_S = 20


class Group:
    """Three nodes as child processes."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.processes = {}

    def start(self, *nodes):
        for node in nodes or self.nodes:
            with node.config.with_suffix(".out").open("a") as out:
                peer = ["--advertise", node.peer, "--search-threads", "2"]
                process = subprocess.Popen(
                    [BIN / "meridian-node", "--config", node.config, *peer],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                )
            self.processes[node.name] = process
            node.pid = process.pid

    def signal_and_wait(self, node, number):
        """Signals a process, waits for its exit and returns its code."""
        process = self.processes.pop(node.name)
        process.send_signal(number)
        return process.wait(STOP_S)

    def wait_ready(self, *nodes):
        for node in nodes or self.nodes:
            wait_until(node.is_ready, WITHIN_S, f"{node.name} is ready")

    def kill_all(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()


@pytest.fixture(scope="module")
def prepared(module_folder):
    """A bootstrapped, filled group with stopped processes."""
    with Local(module_folder("group"), "us-east:1x3") as local:
        nodes = local.nodes
        assert nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
        for node in nodes:
            write_all(node)
    for node in nodes:
        node.__post_init__()  # the connections ended with the processes
    yield nodes
    for node in nodes:
        node.http.close()


@pytest.fixture
def group(prepared):
    group = Group(prepared)
    try:
        group.start()
        group.wait_ready()
        yield group
    finally:
        group.kill_all()


def write_all(node, number=0):
    points = [{"id": n, "vector": [n, 1, 2, 3], "payload": {"n": n, "number": number}} for n in range(KEPT)]
    answer = node.put(POINTS, {"points": points})
    assert answer.status_code == 200, answer.text


def contents(node):
    answer = node.post(f"{POINTS}/scroll", {"limit": KEPT + 1, "with_vector": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["points"]


def digests(nodes):
    return {node.cluster().get("digest") for node in nodes}


def test_all_nodes_restart_with_all_data(group):
    before = [contents(node) for node in group.nodes]
    assert len(before[0]) == KEPT and before[0] == before[1] == before[2]
    digest = digests(group.nodes)
    for node in group.nodes:
        assert group.signal_and_wait(node, signal.SIGTERM) == 0
    group.start()
    group.wait_ready()
    assert [contents(node) for node in group.nodes] == before
    assert digests(group.nodes) == digest and len(digest) == 1


def test_all_nodes_killed_at_once_lose_nothing(group):
    for number in range(1, 4):
        write_all(leader(group.nodes), number)
        group.kill_all()
        group.start()
        group.wait_ready()
        for node in group.nodes:
            assert {point["payload"]["number"] for point in contents(node)} == {number}
            assert len(contents(node)) == KEPT


def test_a_stopping_leader_transfers_leadership_and_exits_cleanly(group):
    for _ in range(3):
        leads = leader(group.nodes)
        others = [node for node in group.nodes if node is not leads]
        term = leads.cluster()["term"]
        process = group.processes[leads.name]
        process.send_signal(signal.SIGTERM)
        longest = 0.0
        # Writes continue: none waits for an election timeout, which is at least 800 ms.
        while process.poll() is None:
            begun = time.monotonic()
            write_all(others[0])
            longest = max(longest, time.monotonic() - begun)
        assert group.signal_and_wait(leads, 0) == 0
        heir = wait_until(lambda: next((node for node in others if node.leads()), None), 0.5, "there is a leader already")
        assert heir.cluster()["term"] == term + 1, "one election, won by the heir"
        assert longest < 5, f"a write took {longest:.1f} s"
        group.start(leads)
        group.wait_ready(leads)


def test_a_stopping_follower_exits_cleanly_with_clients_connected(group):
    node = next(node for node in group.nodes if not node.leads())
    with httpx.Client(base_url=node.api, headers=dict(node.http.headers), trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        assert group.signal_and_wait(node, signal.SIGTERM) == 0
        with pytest.raises(httpx.HTTPError):
            client.get("/readyz")


def test_a_follower_that_lost_its_volume_is_blank_and_never_votes(group):
    leads = leader(group.nodes)
    wiped, other = (node for node in group.nodes if node is not leads)
    group.signal_and_wait(wiped, signal.SIGKILL)
    folder = wiped.config.with_suffix("")
    kept = folder.with_suffix(".kept")
    shutil.move(folder, kept)
    group.start(wiped)

    wait_until(lambda: wiped.cluster() == {"state": "blank"}, WITHIN_S, "the node says that it is blank")
    ready = httpx.get(f"{wiped.admin}/readyz")
    assert (ready.status_code, ready.text.strip()) == (503, "not a replica yet: waiting to be bootstrapped or to join")
    asked = wiped.post(f"{POINTS}/count", {})
    assert asked.status_code == 503 and "not a replica yet" in asked.json()["status"]["error"]
    write_all(leads, 7)  # two of three are a majority

    # With the other follower gone only the blank one is left to count on: it must not help.
    group.signal_and_wait(other, signal.SIGKILL)
    point = {"points": [{"id": 1, "vector": [9, 9, 9, 9]}]}
    # The write is in the leader's log; its outcome is unknown.
    unknown = leads.put(f"{POINTS}?timeout=3", point)
    assert unknown.status_code == 500 and "outcome unknown" in unknown.json()["status"]["error"], unknown.text
    wait_until(lambda: not leads.leads(), WITHIN_S, "the leader without a majority steps down")
    refused = leads.put(f"{POINTS}?timeout=3", point)
    assert refused.status_code == 503, refused.text
    assert wiped.cluster() == {"state": "blank"}

    group.start(other)
    group.wait_ready(other)
    leader([leads, other])
    # The first write may have taken effect since; nothing else changed.
    for node in (leads, other):
        assert {point["payload"].get("number") for point in contents(node) if point["id"] != 1} == {7}

    # Its volume comes back, and with it the replica.
    group.signal_and_wait(wiped, signal.SIGKILL)
    shutil.rmtree(folder)
    shutil.move(kept, folder)
    group.start(wiped)
    group.wait_ready(wiped)
    wait_until(lambda: len(digests(group.nodes)) == 1, WITHIN_S, "the replica caught up")
