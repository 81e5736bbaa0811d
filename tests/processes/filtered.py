"""Clients that delete by filter while others write.

Each writer marks its points as to be dropped, then replaces each by one that is to be kept, while deletes of all that is to be
dropped run without pause. An acknowledged point that is to be kept never matched, and must stay.
"""

import random
import threading

import httpx

from regions import client, wait_until

COLLECTION = "/collections/filtered"
POINTS = f"{COLLECTION}/points"
DROP = {"must": [{"key": "mark", "match": {"value": "drop"}}]}
WRITERS = 3
MIN_PROGRESS = 10  # points: more than are in flight
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

    def __init__(self, number, nodes, points):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.https = [client(node.api) for node in nodes]
        self.points = range(number * 1_000_000, number * 1_000_000 + points)
        self.stop = threading.Event()
        self.kept, self.uncertain, self.fault = [], set(), None

    def run(self):
        try:
            self.write_all()
        finally:
            for http in self.https:
                http.close()

    def write_all(self):
        for point in self.points:
            if self.stop.is_set():
                return
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


class FilteredLoad:
    """Writers in the primary region, and deleters at every node. Without `points` the writers go on until the end."""

    def __init__(self, nodes, primary, points=1_000_000):
        self.nodes = nodes
        self.writers = [Writer(number, primary, points) for number in range(1, WRITERS + 1)]
        self.deleters = [Deleter(node) for node in nodes]

    def __enter__(self):
        created = self.nodes[0].put(COLLECTION, {"vectors": {"size": 2, "distance": "Dot"}})
        assert created.status_code == 200, created.text
        is_visible = lambda: all(node.get(COLLECTION).status_code == 200 for node in self.nodes)  # noqa: E731
        wait_until(is_visible, 30, "all regions know the collection")
        # Some thousand points that match, so that a delete is under way when its leader ends.
        for first in range(100_000, 104_000, 1_000):
            points = [{"id": id, "vector": [1, 2], "payload": {"mark": "drop"}} for id in range(first, first + 1_000)]
            assert self.nodes[0].put(POINTS, {"points": points}).status_code == 200
        for thread in self.writers + self.deleters:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.writers + self.deleters:
            thread.stop.set()
        for thread in self.writers + self.deleters:
            thread.join()

    def progress(self):
        """Number of points whose writes are done."""
        return sum(len(writer.kept) + len(writer.uncertain) for writer in self.writers)

    def has_advanced(self, before):
        """Whether some points were written since, or a fault ends the wait."""
        return self.faults() or self.progress() >= before + MIN_PROGRESS

    def faults(self):
        return [writer.fault for writer in self.writers if writer.fault]

    def check(self):
        """Asserts, after the end, that all regions hold what was acknowledged and nothing that a delete must have removed."""
        assert not self.faults(), self.faults()
        kept = {point for writer in self.writers for point in writer.kept}
        uncertain = set().union(*(writer.uncertain for writer in self.writers))
        first, last = self.nodes[0], self.nodes[-1]
        delete = lambda: first.post(f"{POINTS}/delete", {"filter": DROP})  # noqa: E731
        response = wait_until(lambda: (r := delete()).status_code == 200 and r, WITHIN_S, "a last delete")
        token = response.headers["x-consistency-token"]
        held = marks(first, **{"x-consistency": "strong"})
        lost = sorted(kept - held.keys())
        assert not lost, f"{len(lost)} of {len(kept)} acknowledged points are gone: {lost[:10]}"
        assert held.keys() <= kept | uncertain, f"an acknowledged delete left what matched: {held.keys() - kept}"
        assert len(kept) > len(uncertain), f"{len(uncertain)} writes had no answer"
        fresh = {"x-consistency-token": token, "x-required-freshness": "100ms; on-stale=wait; max-wait=10s"}
        wait_until(lambda: marks(last, **fresh) == held, WITHIN_S, "the last node holds the same points")
        deletes = sum(deleter.acknowledged for deleter in self.deleters)
        assert deletes > 0
        return f"kept={len(kept)} deletes={deletes} statuses={sorted(set().union(*(d.statuses for d in self.deleters)))}"


def marks(node, **headers):
    """The mark of each point that the node holds."""
    held, start = {}, None
    while True:
        page = node.post(f"{POINTS}/scroll", {"limit": 1_000, "offset": start, "with_payload": True}, headers=headers)
        assert page.status_code == 200, page.text
        result = page.json()["result"]
        held |= {point["id"]: point["payload"]["mark"] for point in result["points"]}
        if (start := result["next_page_offset"]) is None:
            return held
