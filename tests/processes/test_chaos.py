"""Real processes are killed and stopped under load, and no promise is broken.

CHAOS_ROUNDS says how often, CHAOS_SEED who is met and when.
"""

import itertools
import os
import random
import signal

from load import COLLECTION, POINTS, Load
from regions import leader, until

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "50"))
SEED = os.environ.get("CHAOS_SEED", "1")
ACKNOWLEDGED = 50  # changes that must pass after each blow: more than may have been under way
ROUND_S = 60
QUIET_S = 60


def test_no_promise_is_broken_by_kill_9_and_sigstop(two_regions, capsys):
    nodes = two_regions.nodes
    created = nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Euclid"}})
    assert created.status_code == 200, created.text
    knows = lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes)  # noqa: E731
    until(knows, 30, "both regions know the collection")
    definitions = applied(nodes[0])

    chosen = random.Random(SEED)
    with Load(nodes, SEED) as load:
        until(lambda: advanced(load, [0] * len(load.clients), ACKNOWLEDGED), ROUND_S, "the load begins")
        for blow, whom, region in rounds(chosen):
            strike(blow, pick(whom, two_regions.region(region), chosen), load)
            assert not load.faults(), "\n".join(load.faults())
    assert not load.faults(), "\n".join(load.faults())

    least = definitions + told_to(load)
    until(lambda: is_quiet(nodes, least), QUIET_S, lambda: f"equal digests: {[told(node) for node in nodes]}")
    books = Books(nodes, load, definitions)
    with capsys.disabled():
        print(
            f"\nchaos: rounds={ROUNDS} seed={SEED} {books} checked={sum(writer.checked for writer in load.writers)}"
            f" reads={sum(reader.done for reader in load.readers)}"
            f" read_tries_most={max(reader.most_tries for reader in load.readers)}"
            f" read_longest_ms={max(reader.longest for reader in load.readers) * 1000:.0f}"
            f" write_longest_ms={max(writer.longest_pause for writer in load.writers) * 1000:.0f}"
        )
    books.balance()
    the_net_holds(nodes, load)


class Books:
    """What the writers of a load that has ended were told, against what both regions hold."""

    def __init__(self, nodes, load, definitions):
        self.writers = load.writers
        self.acknowledged = sorted(itertools.chain.from_iterable(writer.sequences for writer in load.writers))
        self.unknown = sum(writer.unknown for writer in load.writers)
        self.committed = applied(nodes[0]) - definitions
        self.lost = [fault for node in (nodes[0], nodes[-1]) for fault in lost_at(node, load)]

    def __str__(self):
        return f"acknowledged={len(self.acknowledged)} unknown={self.unknown} committed={self.committed} lost={len(self.lost)}"

    def balance(self):
        """Nothing is lost and nothing doubled."""
        acknowledged = self.acknowledged
        assert not self.lost, "\n".join(self.lost)
        assert len(set(acknowledged)) == len(acknowledged), "two changes were acknowledged under one sequence"
        for writer in self.writers:
            assert writer.sequences == sorted(writer.sequences), f"{writer.name}: later changes have smaller sequences"
        # Each acknowledged change was committed once; beyond those there are only attempts that were not answered.
        assert len(acknowledged) <= self.committed <= len(acknowledged) + self.unknown


def the_net_holds(nodes, load):
    """A change behind the back of all writers must look like a loss in both regions, or the test above proves nothing."""
    writer, point = next(
        (writer, point)
        for writer in load.writers
        for point in writer.points
        if writer.standing.get(point) is not None and None not in writer.possible[point]
    )
    deleted = nodes[0].post(f"{POINTS}/delete", {"points": [point]})
    assert deleted.status_code == 200, deleted.text
    for node in (nodes[0], nodes[-1]):
        # What a node says of itself is up to 100 ms old: that all are quiet could still be from before.
        seen = lambda: len(list(lost_at(node, load))) == 1  # noqa: B023,E731
        until(seen, QUIET_S, f"{node.name} sees the loss of {point} of {writer.name}")


def rounds(chosen):
    """Each kind of blow at each kind of replica in each region, in an order by chance, as often as it takes."""
    kinds = list(itertools.product(("kill", "stop"), ("leader", "follower", "anyone"), ("us-east", "eu-west")))
    left = []
    for _ in range(ROUNDS):
        if not left:
            left = chosen.sample(kinds, len(kinds))
        yield left.pop()


def pick(whom, nodes, chosen):
    if whom == "anyone":
        return chosen.choice(nodes)
    leads = leader(nodes, ROUND_S)
    return leads if whom == "leader" else chosen.choice([node for node in nodes if node is not leads])


def strike(blow, node, load):
    """Kills or stops one node until the load has gone on without it, and waits until it is back."""
    before = load.progress()
    if blow == "kill":
        pid = node.signal(signal.SIGKILL)
        until(lambda: advanced(load, before), ROUND_S, lambda: f"the load goes on without {node.name}")
        until(lambda: node.pid not in (None, pid), ROUND_S, f"{node.name} is started again")
    else:
        node.signal(signal.SIGSTOP)
        try:
            until(lambda: advanced(load, before), ROUND_S, lambda: f"the load goes on without {node.name}")
        finally:
            node.signal(signal.SIGCONT)
    until(node.is_ready, ROUND_S, f"{node.name} is back")


def advanced(load, before, by=ACKNOWLEDGED):
    """Whether enough was written since, and something read in each region. A fault ends the wait."""
    if load.faults():
        return True
    since = [now - then for now, then in zip(load.progress(), before)]
    return sum(since[: len(load.writers)]) >= by and all(since[len(load.writers) :])


def told(node):
    return node.name, node.cluster().get("digest"), applied(node)


def applied(node):
    """How many changes of us-east the node has applied."""
    origins = node.consistency().get("origins", [])
    return next((origin["seq"] for origin in origins if origin["region"] == "us-east"), 0)


def told_to(load):
    """How many changes the writers know to be committed."""
    return sum(len(writer.sequences) for writer in load.writers)


def is_quiet(nodes, least):
    """Whether all replicas of both regions hold the same after the same changes, so many at least: what they say of themselves is a
    moment old."""
    return len({told(node)[1:] for node in nodes}) == 1 and applied(nodes[0]) >= least


def lost_at(node, load):
    """Every point where neither what was acknowledged last stands nor what may have come after it."""
    stands, start = {}, None
    while True:
        page = node.post(f"{POINTS}/scroll", {"limit": 500, "offset": start})
        assert page.status_code == 200, page.text
        result = page.json()["result"]
        stands |= {record["id"]: record["payload"]["counter"] for record in result["points"]}
        start = result["next_page_offset"]
        if start is None:
            break
    for writer in load.writers:
        for point in writer.points:
            if not writer.allows(point, stands.get(point)):
                yield f"{node.name} holds {stands.get(point)} at {point}; {writer.promised(point)}"
