"""Kills and pauses real processes under load; no guarantee may be violated.

CHAOS_ROUNDS is the number of faults, CHAOS_SEED determines their order and targets.
"""

import itertools
import os
import random
import signal

from load import COLLECTION, POINTS, Load
from regions import leader, wait_until

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "50"))
SEED = os.environ.get("CHAOS_SEED", "1")
MIN_PROGRESS = 50  # writes that must be acknowledged after each fault: more than were in flight
ROUND_S = 60
CONVERGENCE_S = 60


def test_no_guarantee_is_violated_by_kill_9_and_sigstop(two_regions, capsys):
    nodes = two_regions.nodes
    created = nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Euclid"}})
    assert created.status_code == 200, created.text
    is_visible = lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes)  # noqa: E731
    wait_until(is_visible, 30, "both regions know the collection")
    definitions = applied(nodes[0])

    rng = random.Random(SEED)
    with Load(nodes, SEED) as load:
        wait_until(lambda: advanced(load, [0] * len(load.clients), MIN_PROGRESS), ROUND_S, "the load begins")
        for fault_kind, target, region in rounds(rng):
            inject_fault(fault_kind, pick(target, two_regions.region(region), rng), load)
            assert not load.faults(), "\n".join(load.faults())
    assert not load.faults(), "\n".join(load.faults())

    min_applied = definitions + acknowledged_by(load)
    wait_until(lambda: has_converged(nodes, min_applied), CONVERGENCE_S, lambda: f"equal digests: {[reported_state(node) for node in nodes]}")
    audit = WriteAudit(nodes, load, definitions)
    with capsys.disabled():
        print(
            f"\nchaos: rounds={ROUNDS} seed={SEED} {audit} checked={sum(writer.checked for writer in load.writers)}"
            f" reads={sum(reader.done for reader in load.readers)}"
            f" read_tries_most={max(reader.max_tries for reader in load.readers)}"
            f" read_longest_ms={max(reader.longest for reader in load.readers) * 1000:.0f}"
            f" write_longest_ms={max(writer.longest_pause for writer in load.writers) * 1000:.0f}"
        )
    audit.check()
    check_that_the_audit_detects_loss(nodes, load)


class WriteAudit:
    """Compares the acknowledgements of a finished load with the state of both regions."""

    def __init__(self, nodes, load, definitions):
        self.writers = load.writers
        self.acknowledged = sorted(itertools.chain.from_iterable(writer.sequences for writer in load.writers))
        self.unknown = sum(writer.unknown for writer in load.writers)
        self.committed = applied(nodes[0]) - definitions
        self.lost = [fault for node in (nodes[0], nodes[-1]) for fault in lost_points(node, load)]

    def __str__(self):
        return f"acknowledged={len(self.acknowledged)} unknown={self.unknown} committed={self.committed} lost={len(self.lost)}"

    def check(self):
        """Asserts that no write is lost or duplicated."""
        acknowledged = self.acknowledged
        assert not self.lost, "\n".join(self.lost)
        assert len(set(acknowledged)) == len(acknowledged), "two changes were acknowledged under one sequence"
        for writer in self.writers:
            assert writer.sequences == sorted(writer.sequences), f"{writer.name}: later changes have smaller sequences"
        # Each acknowledged change was committed once; all other commits are attempts without a response.
        assert len(acknowledged) <= self.committed <= len(acknowledged) + self.unknown


def check_that_the_audit_detects_loss(nodes, load):
    """A delete that the writers do not know must be reported as a loss in both regions, or the audit proves nothing."""
    writer, point = next(
        (writer, point)
        for writer in load.writers
        for point in writer.points
        if writer.acknowledged.get(point) is not None and None not in writer.possible[point]
    )
    deleted = nodes[0].post(f"{POINTS}/delete", {"points": [point]})
    assert deleted.status_code == 200, deleted.text
    for node in (nodes[0], nodes[-1]):
        # Nodes report a state that is up to 100 ms old.
        detects_loss = lambda: len(list(lost_points(node, load))) == 1  # noqa: B023,E731
        wait_until(detects_loss, CONVERGENCE_S, f"{node.name} sees the loss of {point} of {writer.name}")


def rounds(rng):
    """All combinations of fault, target and region in random order, repeated up to ROUNDS."""
    kinds = list(itertools.product(("kill", "stop"), ("leader", "follower", "anyone"), ("us-east", "eu-west")))
    remaining = []
    for _ in range(ROUNDS):
        if not remaining:
            remaining = rng.sample(kinds, len(kinds))
        yield remaining.pop()


def pick(target, nodes, rng):
    if target == "anyone":
        return rng.choice(nodes)
    leads = leader(nodes, ROUND_S)
    return leads if target == "leader" else rng.choice([node for node in nodes if node is not leads])


def inject_fault(fault_kind, node, load):
    """Kills or pauses one node until the load makes progress without it, and waits until it is ready."""
    before = load.progress()
    if fault_kind == "kill":
        pid = node.signal(signal.SIGKILL)
        wait_until(lambda: advanced(load, before), ROUND_S, lambda: f"the load goes on without {node.name}")
        wait_until(lambda: node.pid not in (None, pid), ROUND_S, f"{node.name} is started again")
    else:
        node.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: advanced(load, before), ROUND_S, lambda: f"the load goes on without {node.name}")
        finally:
            node.signal(signal.SIGCONT)
    wait_until(node.is_ready, ROUND_S, f"{node.name} is back")


def advanced(load, before, by=MIN_PROGRESS):
    """Whether enough was written since, and something read in each region. A violation ends the wait."""
    if load.faults():
        return True
    since = [now - then for now, then in zip(load.progress(), before)]
    return sum(since[: len(load.writers)]) >= by and all(since[len(load.writers) :])


def reported_state(node):
    return node.name, node.cluster().get("digest"), applied(node)


def applied(node):
    """Newest sequence of us-east that the node has applied."""
    origins = node.consistency().get("origins", [])
    return next((origin["seq"] for origin in origins if origin["region"] == "us-east"), 0)


def acknowledged_by(load):
    """Number of acknowledged changes."""
    return sum(len(writer.sequences) for writer in load.writers)


def has_converged(nodes, min_applied):
    """Whether all replicas of both regions have equal digests and positions, at least `min_applied`: reported states are slightly old."""
    return len({reported_state(node)[1:] for node in nodes}) == 1 and applied(nodes[0]) >= min_applied


def lost_points(node, load):
    """Points with neither the last acknowledged state nor a possible later one."""
    held, start = {}, None
    while True:
        page = node.post(f"{POINTS}/scroll", {"limit": 500, "offset": start})
        assert page.status_code == 200, page.text
        result = page.json()["result"]
        held |= {record["id"]: record["payload"]["counter"] for record in result["points"]}
        start = result["next_page_offset"]
        if start is None:
            break
    for writer in load.writers:
        for point in writer.points:
            if not writer.is_allowed(point, held.get(point)):
                yield f"{node.name} holds {held.get(point)} at {point}; {writer.expected_states(point)}"
