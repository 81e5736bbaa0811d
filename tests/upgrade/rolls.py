"""Load of a roll: the clients of the chaos test, and readers with a freshness requirement in every region."""

import time
from collections import deque

from load import COLLECTION, POINTS, Client, Load, counter_of
from regions import wait_until
from test_chaos import WriteAudit, acknowledged_by, advanced, applied, check_that_the_audit_detects_loss, has_converged, reported_state

FRESHNESS_S = 0.5
DEMAND = f"{int(FRESHNESS_S * 1000)}ms; on-stale=wait,serve; max-wait=2s"
PAUSE_S = 0.02  # between two reads of a client
WITHIN_S = 60


class FreshReader(Client):
    """Reads with required freshness: a fresh answer must contain every write acknowledged before that time."""

    def __init__(self, nodes, writers, seed):
        super().__init__(f"fresh reader in {nodes[0].region}", nodes, seed)
        self.writers = writers
        self.acknowledged = deque()  # (time, point, counter) of acknowledged upserts, oldest first
        self.stale = 0

    def step(self):
        writer = self.random.choice(self.writers)
        point = self.random.choice(writer.points)
        counter = writer.acknowledged.get(point)
        if counter is not None:
            self.acknowledged.append((time.monotonic(), point, counter))
        while self.acknowledged and time.monotonic() - self.acknowledged[0][0] > FRESHNESS_S:
            self.read(*self.acknowledged.popleft()[1:])
        self.stop.wait(PAUSE_S)

    def read(self, point, counter):
        node = self.random.choice(self.nodes)
        response, _ = self.send(node, "POST", POINTS, {"ids": [point]}, x_required_freshness=DEMAND)
        if response is None or response.status_code != 200:
            return
        if response.headers.get("stale-result") == "true":
            self.stale += 1
            return
        seen = counter_of(response.json()["result"])
        self.done += 1
        # An absent point may have been deleted since; the audit at the end checks deletes.
        if seen is not None and seen < counter:
            self.faults.append(f"{self.name}: {node.name} read {seen} at {point}; {counter} was acknowledged {FRESHNESS_S} s before")


class RollLoad(Load):
    """All clients of one roll."""

    def __init__(self, nodes, seed):
        super().__init__(nodes, seed)
        regions = {node.region: [other for other in nodes if other.region == node.region] for node in nodes}
        self.nodes = nodes
        self.fresh = [FreshReader(region, self.writers, seed) for region in regions.values()]
        created = nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Euclid"}})
        assert created.status_code == 200, created.text
        is_visible = lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes)  # noqa: E731
        wait_until(is_visible, WITHIN_S, "the collection exists in all regions")
        # The reported state is up to 100 ms old and may lack the collection.
        self.definitions = wait_until(lambda: applied(nodes[0]), WITHIN_S, "the definition is reported")

    def __enter__(self):
        super().__enter__()
        for reader in self.fresh:
            reader.start()
        wait_until(lambda: self.has_advanced([0] * len(self.clients)), WITHIN_S, "the load begins")
        return self

    def __exit__(self, *arguments):
        for reader in self.fresh:
            reader.stop.set()
        super().__exit__(*arguments)
        for reader in self.fresh:
            reader.join()

    def has_advanced(self, before):
        return advanced(self, before)

    def faults(self):
        return super().faults() + [fault for reader in self.fresh for fault in reader.faults]

    def check(self):
        """Asserts, after the load, that no write is lost or applied twice and that the digests of all nodes are equal."""
        assert not self.faults(), "\n".join(self.faults())
        least = self.definitions + acknowledged_by(self)
        states = lambda: [reported_state(node) for node in self.nodes]  # noqa: E731
        wait_until(lambda: has_converged(self.nodes, least), WITHIN_S, lambda: f"equal digests: {states()}")
        audit = WriteAudit(self.nodes, self, self.definitions)
        audit.check()
        assert all(reader.done > 0 for reader in self.fresh), "no read had the required freshness"
        check_that_the_audit_detects_loss(self.nodes, self)
        longest = max(writer.longest_pause for writer in self.writers)
        fresh = ", ".join(f"{reader.nodes[0].region} {reader.done} fresh {reader.stale} stale" for reader in self.fresh)
        return f"{audit} checked={sum(w.checked for w in self.writers)} reads: {fresh} write_longest_ms={longest * 1000:.0f}"
