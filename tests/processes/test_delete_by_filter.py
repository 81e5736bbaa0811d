"""Deletes by filter while others write: an acknowledged point that never matched stays, in both regions.

Each writer marks its points as to be dropped, then replaces each by one that is to be kept, while deletes of all that is to be
dropped run without pause at every node of both regions. The leader of the primary region is killed meanwhile.
"""

import random
import signal
import threading

import httpx

from regions import client, leader, wait_until

COLLECTION = "/collections/filtered"
POINTS = f"{COLLECTION}/points"
DROP = {"must": [{"key": "mark", "match": {"value": "drop"}}]}
WRITERS = 3
POINTS_PER_WRITER = 100
BATCH = 50
WITHIN_S = 60
REQUEST_TIMEOUT_S = 5  # a request without an answer costs this


class Deleter(threading.Thread):
    """Repeats deletes by filter at one node."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.http = client(node.api)
        self.stop = threading.Event()
        self.acknowledged, self.statuses = 0, set()

    def run(self):
        while not self.stop.is_set():
            try:
                response = self.http.post(f"{POINTS}/delete", json={"filter": DROP}, timeout=REQUEST_TIMEOUT_S)
                self.acknowledged += response.status_code == 200
                self.statuses.add(response.status_code)
            except httpx.HTTPError:
                self.stop.wait(0.05)
        self.http.close()


class Writer(threading.Thread):
    """Writes points to be deleted, then points to be kept under the same ids, and records acknowledgements."""

    def __init__(self, number, nodes):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.https = [client(node.api) for node in nodes]
        self.points = range(number * 1_000, number * 1_000 + POINTS_PER_WRITER)
        self.kept, self.uncertain, self.fault = [], set(), None

    def run(self):
        try:
            self.write_all()
        finally:
            for http in self.https:
                http.close()

    def write_all(self):
        for point in self.points:
            # A point that an attempt without an answer may still change proves nothing.
            if not self.write(point, "drop", tries=1):
                self.uncertain.add(point)
            elif self.write(point, "keep", tries=200):
                self.kept.append(point)
            else:
                self.fault = f"point {point} was not taken"
                return

    def write(self, point, mark, tries):
        body = {"points": [{"id": point, "vector": [1, 2], "payload": {"mark": mark}}]}
        for _ in range(tries):
            try:
                if self.random.choice(self.https).put(POINTS, json=body, timeout=REQUEST_TIMEOUT_S).status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            threading.Event().wait(0.05)
        return False


def marks(node, **headers):
    body = {"limit": 5_000, "with_payload": True}
    response = node.post(f"{POINTS}/scroll", body, headers=headers)
    assert response.status_code == 200, response.text
    return {point["id"]: point["payload"]["mark"] for point in response.json()["result"]["points"]}


def test_an_acknowledged_point_that_never_matched_stays(two_regions, capsys):
    nodes = two_regions.nodes
    created = nodes[0].put(COLLECTION, {"vectors": {"size": 2, "distance": "Dot"}})
    assert created.status_code == 200, created.text
    wait_until(lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes), 30, "both regions know the collection")
    # Some thousand points that match, so that a delete is under way when its leader dies.
    for first in range(100_000, 104_000, 1_000):
        points = [{"id": id, "vector": [1, 2], "payload": {"mark": "drop"}} for id in range(first, first + 1_000)]
        assert nodes[0].put(POINTS, {"points": points}).status_code == 200
    writers = [Writer(number, two_regions.region("us-east")) for number in range(1, WRITERS + 1)]
    deleters = [Deleter(node) for node in nodes]
    for thread in writers + deleters:
        thread.start()
    for share in (0.25, 0.5, 0.75):
        reached = lambda: sum(len(w.kept) + len(w.uncertain) for w in writers) >= share * WRITERS * POINTS_PER_WRITER  # noqa: E731, B023
        wait_until(lambda: reached() or any(w.fault for w in writers), WITHIN_S, "the writers go on")
        leader(two_regions.region("us-east")).signal(signal.SIGKILL)
    for writer in writers:
        writer.join(WITHIN_S)
        assert writer.fault is None and not writer.is_alive(), writer.fault
    for deleter in deleters:
        deleter.stop.set()
    for deleter in deleters:
        deleter.join(WITHIN_S)
    wait_until(lambda: all(node.is_ready() for node in nodes), WITHIN_S, "all nodes are back")
    kept = {point for writer in writers for point in writer.kept}
    uncertain = set().union(*(writer.uncertain for writer in writers))
    last = lambda: nodes[0].post(f"{POINTS}/delete", {"filter": DROP})  # noqa: E731
    response = wait_until(lambda: (r := last()).status_code == 200 and r, WITHIN_S, "a last delete")
    token = response.headers["x-consistency-token"]
    held = marks(nodes[0], **{"x-consistency": "strong"})
    lost = sorted(kept - held.keys())
    assert not lost, f"{len(lost)} of {len(kept)} acknowledged points are gone: {lost[:10]}"
    assert held.keys() <= kept | uncertain, f"an acknowledged delete left what matched: {held.keys() - kept}"
    assert len(kept) > len(uncertain), f"{len(uncertain)} writes had no answer"
    far = nodes[-1]
    fresh = {"x-consistency-token": token, "x-required-freshness": "100ms; on-stale=wait; max-wait=10s"}
    wait_until(lambda: marks(far, **fresh) == held, WITHIN_S, "the other region holds the same points")
    with capsys.disabled():
        done = sum(deleter.acknowledged for deleter in deleters)
        statuses = sorted(set().union(*(deleter.statuses for deleter in deleters)))
        print(f"\ndelete by filter: kept={len(kept)} deletes={done} statuses={statuses}")
    assert done > 0
