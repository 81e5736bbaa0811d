"""Clients that write and read without pause while processes die, and remember what they were promised.

Each point has one writer, so the order of its changes is known. Every attempt carries a counter of its own in the payload.
An attempt that ends without an answer, or with a 5xx, may have taken place, and may still take place: its state stays
possible for ever. What was acknowledged must stand, unless a later acknowledged or a possible state does.
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
POINTS_A_WRITER = 100
DELETES = 0.2
CHECKS = 0.25  # share of the writes that are read back
TRY_S = 2  # an attempt at a stopped process costs this
WRITE_S = 60  # a write that no node accepts for this long is a failure
READ_TRIES = 4  # one and three retries
PAUSE_S = 0.02  # between attempts


class Client(threading.Thread):
    """Asks one node after another; its next one is known only to itself."""

    def __init__(self, name, nodes, seed):
        super().__init__(name=name, daemon=True)
        self.nodes = nodes
        self.random = random.Random(f"{seed} {name}")
        self.https = {node.name: client(node.api) for node in nodes}
        self.stop = threading.Event()
        self.faults = []
        self.done = 0

    def run(self):
        try:
            while not self.stop.is_set():
                self.turn()
        except Exception as fault:  # the thread's end must not go unseen
            self.faults.append(f"{self.name}: {fault!r}")
        finally:
            for http in self.https.values():
                http.close()

    def ask(self, node, method, path, body, **headers):
        """The response, if one came, and whether the request may have arrived."""
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        url = f"{path}?timeout={TRY_S}"
        try:
            response = self.https[node.name].request(method, url, json=body, headers=headers, timeout=TRY_S + 0.5)
            return response, True
        except httpx.ConnectError:
            return None, False
        except httpx.HTTPError:
            return None, True


class Writer(Client):
    """Upserts, overwrites and deletes its own points."""

    def __init__(self, number, nodes, seed):
        super().__init__(f"writer {number}", nodes, seed)
        self.points = [number * 1_000 + n for n in range(POINTS_A_WRITER)]
        self.node = nodes[number % len(nodes)]
        self.counter = 0
        self.standing = {}  # point → counter acknowledged last; none after a delete
        self.possible = defaultdict(set)  # point → states of attempts without an answer
        self.sequences = []  # of acknowledged changes, in order
        self.unknown = self.checked = 0
        self.longest_pause = 0.0

    def turn(self):
        point = self.random.choice(self.points)
        delete = point in self.standing and self.random.random() < DELETES
        begun = time.monotonic()
        while True:
            self.counter += 1
            response, sent = self.ask(self.node, *change(point, None if delete else self.counter))
            state = None if delete else self.counter
            if response is not None and response.status_code == 200:
                break
            if response is not None and response.status_code < 500 and response.status_code not in (408, 429):
                raise AssertionError(f"a write was refused: {response.status_code} {response.text}")
            if sent:
                self.unknown += 1
                self.possible[point].add(state)
            if time.monotonic() - begun > WRITE_S:
                raise AssertionError(f"a write was not accepted in {WRITE_S} s: {response and response.text}")
            time.sleep(PAUSE_S)
            self.node = self.random.choice(self.nodes)
        self.longest_pause = max(self.longest_pause, time.monotonic() - begun)
        self.standing[point] = state
        self.sequences.append(response.json()["result"]["operation_id"])
        self.done += 1
        if self.random.random() < CHECKS:
            self.check(point, response.headers["x-consistency-token"])

    def check(self, point, token):
        """What was just acknowledged is seen by the region that did, by strong reads anywhere, and by whoever has its token."""
        node = self.random.choice(self.nodes)
        demand = {"x_consistency_token": token} if node.region != "us-east" else {}
        if self.random.random() < 0.3:
            demand = {"x_consistency": "strong"}
        response, _ = self.ask(node, "POST", POINTS, {"ids": [point]}, **demand)
        if response is None or response.status_code != 200 or response.headers.get("stale-result") == "true":
            return
        seen = counter_of(response.json()["result"])
        self.checked += 1
        if not self.allows(point, seen):
            self.faults.append(f"{self.name}: {node.name} read {seen} at {point} with {demand}; {self.promised(point)}")

    def allows(self, point, seen):
        return seen == self.standing.get(point) or seen in self.possible[point]

    def promised(self, point):
        return f"{self.standing.get(point)} was acknowledged, possible are {sorted(map(str, self.possible[point]))}"


class Reader(Client):
    """Reads points of all writers in one region, and counts how often it has to ask."""

    def __init__(self, number, nodes, points, seed):
        super().__init__(f"reader {number} in {nodes[0].region}", nodes, seed)
        self.points = points
        self.most_tries, self.longest = 0, 0.0

    def turn(self):
        begun, told = time.monotonic(), None
        order = self.random.sample(self.nodes, len(self.nodes))
        for tries in range(READ_TRIES):
            if self.random.random() < 0.5:
                ask = ("POST", POINTS, {"ids": [self.random.choice(self.points)]})
            else:
                ask = ("POST", f"{POINTS}/query", {"query": vector(self.random.randrange(1_000)), "limit": 5})
            response, _ = self.ask(order[tries % len(order)], *ask)
            if response is not None and response.status_code == 200:
                self.most_tries = max(self.most_tries, tries + 1)
                self.longest = max(self.longest, time.monotonic() - begun)
                self.done += 1
                return
            told = response and response.text
            time.sleep(PAUSE_S)
        took = time.monotonic() - begun
        self.faults.append(f"{self.name}: not answered in {READ_TRIES} tries and {took:.1f} s; last was {told}")


def vector(n):
    return [n % 7, n % 11, n % 13, 1]


def change(point, counter):
    """The request that brings a point to a state."""
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
