"""Clients that write and read continuously while processes are killed, and check the guarantees of acknowledged writes.

Each point has one writer, so the order of its changes is known. Every attempt carries its own counter in the payload. An
attempt without a response, or with a 5xx, may be executed now or later: its state stays possible for ever. The last
acknowledged state must be present, unless a later acknowledged or a possible state is.
"""

import random
import threading
import time
from collections import defaultdict
from itertools import chain

import httpx

from regions import client

COLLECTION = "/collections/chaos"
POINTS = f"{COLLECTION}/points"
WRITERS = 8
POINTS_PER_WRITER = 100
DELETE_SHARE = 0.2
READ_BACK_SHARE = 0.25  # share of the writes that are read back
ATTEMPT_TIMEOUT_S = 2  # an attempt at a stopped process costs this
WRITE_S = 60  # a write that no node accepts for this long is a failure
READ_ATTEMPTS = 4  # one and three retries
RETRY_DELAY_S = 0.02  # between attempts


class Client(threading.Thread):
    """A client thread that repeats `step`."""

    def __init__(self, name, nodes, seed):
        super().__init__(name=name, daemon=True)
        self.nodes = nodes
        self.random = random.Random(f"{seed} {name}")
        self.http_clients = {node.name: client(node.api) for node in nodes}
        self.stop = threading.Event()
        self.faults = []
        self.done = 0

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
        except Exception as error:  # a dead thread must fail the test
            self.faults.append(f"{self.name}: {error!r}")
        finally:
            for http in self.http_clients.values():
                http.close()

    def send(self, node, method, path, body, **headers):
        """Returns the response, if any, and whether the request may have been executed."""
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        url = f"{path}?timeout={ATTEMPT_TIMEOUT_S}"
        try:
            response = self.http_clients[node.name].request(method, url, json=body, headers=headers, timeout=ATTEMPT_TIMEOUT_S + 0.5)
            return response, True
        except httpx.ConnectError:
            return None, False
        except httpx.HTTPError:
            return None, True


class Writer(Client):
    """Upserts, overwrites and deletes points of its own."""

    def __init__(self, number, nodes, seed):
        super().__init__(f"writer {number}", nodes, seed)
        self.points = [number * 1_000 + n for n in range(POINTS_PER_WRITER)]
        self.node = nodes[number % len(nodes)]
        self.counter = 0
        self.acknowledged = {}  # point → counter acknowledged last; none after a delete
        self.possible = defaultdict(set)  # point → states of attempts without an answer
        self.sequences = []  # of acknowledged changes, in order
        self.unknown = self.checked = 0
        self.longest_pause = 0.0

    def step(self):
        point = self.random.choice(self.points)
        delete = point in self.acknowledged and self.random.random() < DELETE_SHARE
        start = time.monotonic()
        while True:
            self.counter += 1
            response, sent = self.send(self.node, *change(point, None if delete else self.counter))
            state = None if delete else self.counter
            if response is not None and response.status_code == 200:
                break
            if response is not None and response.status_code < 500 and response.status_code not in (408, 429):
                raise AssertionError(f"a write was refused: {response.status_code} {response.text}")
            if sent:
                self.unknown += 1
                self.possible[point].add(state)
            if time.monotonic() - start > WRITE_S:
                raise AssertionError(f"a write was not accepted in {WRITE_S} s: {response and response.text}")
            time.sleep(RETRY_DELAY_S)
            self.node = self.random.choice(self.nodes)
        self.longest_pause = max(self.longest_pause, time.monotonic() - start)
        self.acknowledged[point] = state
        self.sequences.append(response.json()["result"]["operation_id"])
        self.done += 1
        if self.random.random() < READ_BACK_SHARE:
            self.check(point, response.headers["x-consistency-token"])

    def check(self, point, token):
        """Reads an acknowledged write: in its own region, by a strong read anywhere, or with its token."""
        node = self.random.choice(self.nodes)
        demand = {"x_consistency_token": token} if node.region != "us-east" else {}
        if self.random.random() < 0.3:
            demand = {"x_consistency": "strong"}
        response, _ = self.send(node, "POST", POINTS, {"ids": [point]}, **demand)
        if response is None or response.status_code != 200 or response.headers.get("stale-result") == "true":
            return
        seen = counter_of(response.json()["result"])
        self.checked += 1
        if not self.is_allowed(point, seen):
            self.faults.append(f"{self.name}: {node.name} read {seen} at {point} with {demand}; {self.expected_states(point)}")

    def is_allowed(self, point, seen):
        return seen == self.acknowledged.get(point) or seen in self.possible[point]

    def expected_states(self, point):
        return f"{self.acknowledged.get(point)} was acknowledged, possible are {sorted(map(str, self.possible[point]))}"


class Reader(Client):
    """Reads points of all writers in one region, and counts attempts."""

    def __init__(self, number, nodes, points, seed):
        super().__init__(f"reader {number} in {nodes[0].region}", nodes, seed)
        self.points = points
        self.max_tries, self.longest = 0, 0.0

    def step(self):
        start, last_response = time.monotonic(), None
        order = self.random.sample(self.nodes, len(self.nodes))
        for tries in range(READ_ATTEMPTS):
            if self.random.random() < 0.5:
                request = ("POST", POINTS, {"ids": [self.random.choice(self.points)]})
            else:
                request = ("POST", f"{POINTS}/query", {"query": vector(self.random.randrange(1_000)), "limit": 5})
            response, _ = self.send(order[tries % len(order)], *request)
            if response is not None and response.status_code == 200:
                self.max_tries = max(self.max_tries, tries + 1)
                self.longest = max(self.longest, time.monotonic() - start)
                self.done += 1
                return
            last_response = response and response.text
            time.sleep(RETRY_DELAY_S)
        took = time.monotonic() - start
        self.faults.append(f"{self.name}: not answered in {READ_ATTEMPTS} tries and {took:.1f} s; last was {last_response}")


def vector(n):
    return [n % 7, n % 11, n % 13, 1]


def change(point, counter):
    """The request that sets the state of a point."""
    if counter is None:
        return "POST", f"{POINTS}/delete", {"points": [point]}
    body = {"points": [{"id": point, "vector": vector(counter), "payload": {"counter": counter}}]}
    return "PUT", POINTS, body


def counter_of(records):
    return records[0]["payload"]["counter"] if records else None


class Load:
    """All clients of one run."""

    def __init__(self, nodes, seed):
        self.writers = [Writer(number, nodes, seed) for number in range(WRITERS)]
        points = list(chain.from_iterable(writer.points for writer in self.writers))
        by_region = defaultdict(list)
        for node in nodes:
            by_region[node.region].append(node)
        self.readers = [Reader(number, region, points, seed) for number, region in enumerate(by_region.values())]
        self.clients = [*self.writers, *self.readers]

    def __enter__(self):
        for each in self.clients:
            each.start()
        return self

    def __exit__(self, *_):
        for each in self.clients:
            each.stop.set()
        for each in self.clients:
            each.join()

    def progress(self):
        return [each.done for each in self.clients]

    def faults(self):
        return list(chain.from_iterable(each.faults for each in self.clients))
