"""Writes and reads through the public Services under faults, with a history of acknowledged writes."""

import itertools
import random
import threading
import time

import httpx

FIRST_ID = 1_000_000  # ids of the load; the words have smaller ones
REQUEST_TIMEOUT = httpx.Timeout(1.2, connect=0.4)
READ_ATTEMPTS = 4
READ_SECONDS = 5.0


class Load:
    """Two writers at the primary region and a reader in each region."""

    def __init__(self, collection, primary, regions, vectors):
        self.collection, self.primary, self.regions, self.vectors = collection, primary, regions, vectors
        self.lock = threading.Lock()
        self.possible = {}  # id -> the counters it may hold; None: no point
        self.acknowledged = self.unknown = self.reads = 0
        self.failed_reads, self.slowest_read, self.longest_pause = [], 0.0, 0.0
        self.ids, self.counters = itertools.count(FIRST_ID), itertools.count(1)
        self.stopping = threading.Event()
        self.threads = []

    def start(self):
        self.stopping.clear()
        for number in range(2):
            self.threads.append(threading.Thread(target=self._write, args=(number,)))
        for region in self.regions:
            self.threads.append(threading.Thread(target=self._read, args=(region,)))
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.threads = []

    def _client(self, region):
        return region.http(timeout=REQUEST_TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0))

    def _write(self, number):
        rng = random.Random(number)
        client, mine, last = self._client(self.primary), [], time.monotonic()
        while not self.stopping.is_set():
            while len(mine) < 50:
                mine.append(next(self.ids))
            point, counter = rng.choice(mine), next(self.counters)
            before = self.possible.get(point, {None})
            removes = before != {None} and rng.random() < 0.1
            after = None if removes else counter
            with self.lock:
                self.possible[point] = before | {after}  # set before sending: an in-flight write may take effect
            if removes:
                path, body = "points/delete", {"points": [point]}
            else:
                vector = rng.choice(self.vectors).tolist()
                path, body = "points", {"points": [{"id": point, "vector": vector, "payload": {"n": counter}}]}
            try:
                method = "POST" if removes else "PUT"
                answer = client.request(method, f"/collections/{self.collection}/{path}?wait=true", json=body)
                done, refused = answer.status_code == 200, answer.status_code in (429,)
            except httpx.HTTPError:
                done = refused = False
            with self.lock:
                if done:
                    self.possible[point] = {after}
                    self.acknowledged += 1
                    self.longest_pause = max(self.longest_pause, time.monotonic() - last)
                    last = time.monotonic()
                elif refused:
                    self.possible[point] = before
                else:
                    # It may take effect even after a later write: never write this point again.
                    self.unknown += 1
                    mine.remove(point)
            time.sleep(0.02 if done else 0.2)

    def _read(self, region):
        rng, client = random.Random(7), self._client(region)
        while not self.stopping.is_set():
            vector = rng.choice(self.vectors).tolist()
            start, faults = time.monotonic(), []
            for attempt in range(READ_ATTEMPTS):
                try:
                    answer = client.post(f"/collections/{self.collection}/points/query", json={"query": vector, "limit": 10})
                    if answer.status_code == 200:
                        break
                    faults.append(f"{answer.status_code} {answer.text[:120]}")
                except httpx.HTTPError as error:
                    faults.append(repr(error))
                if time.monotonic() - start > READ_SECONDS:
                    break
                time.sleep(0.05 + 0.1 * attempt)
            elapsed = time.monotonic() - start
            with self.lock:
                self.reads += 1
                self.slowest_read = max(self.slowest_read, elapsed)
                if len(faults) == READ_ATTEMPTS or elapsed > READ_SECONDS:
                    self.failed_reads.append((region.name, round(elapsed, 2), faults))
            time.sleep(0.05)

    def lost(self, region):
        """Points whose value in `region` is not a possible one."""
        with self.lock:
            possible = {point: set(counters) for point, counters in self.possible.items()}
        held, ids = {}, sorted(possible)
        with region.http(timeout=20) as client:
            for at in range(0, len(ids), 500):
                body = {"ids": ids[at : at + 500], "with_payload": True}
                answer = client.post(f"/collections/{self.collection}/points", json=body)
                answer.raise_for_status()
                for point in answer.json()["result"]:
                    held[point["id"]] = point["payload"]["n"]
        return {point: (held.get(point), counters) for point, counters in possible.items() if held.get(point) not in counters}

    def summary(self):
        return (
            f"acknowledged={self.acknowledged} unknown={self.unknown} reads={self.reads} unread={len(self.failed_reads)} "
            f"slowest_read={self.slowest_read:.2f}s longest_write_pause={self.longest_pause:.2f}s"
        )
