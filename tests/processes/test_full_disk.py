"""Full disks: each node's folder is a separate file system, which another file fills.

Mounting needs root; without it these tests are skipped.
"""

import os
import subprocess
import time

import pytest

from regions import Local, leader, wait_until

COLLECTION = "/collections/kept"
POINTS = f"{COLLECTION}/points"
SIZE_MB = 520
# Space left on a full disk. With the rest of the log's segment and a spare one (128 MiB at most) that is less than
# the reserve of the log (256 MiB), and more than its last two segments (128 MiB), so that deletes are possible.
LEFT_MB = 110
WITHIN_S = 20
HAND_OVER_EVERY_S = 30

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def disks(tmp_path):
    """A region with a separate disk for each node."""
    folders = [tmp_path / "us-east" / f"us-east-s1-r{replica}" for replica in (1, 2, 3)]
    mounted = []
    try:
        for folder in folders:
            folder.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", folder], check=True)
            mounted.append(folder)
        with Local(tmp_path, "us-east:1x3") as local:
            assert local.nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
            assert upsert(local.nodes[0], 0).status_code == 200
            yield local.nodes
    finally:
        for folder in mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def folder(node):
    return node.config.with_suffix("")


def fill(node, left_mb=LEFT_MB):
    stat = os.statvfs(folder(node))
    taken = stat.f_bavail * stat.f_frsize - (left_mb << 20)
    with open(folder(node) / ".filler", "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, taken)


def empty(node):
    (folder(node) / ".filler").unlink()


def upsert(node, number):
    return node.put(f"{POINTS}?wait=true", {"points": [{"id": number, "vector": [number, 1, 2, 3]}]})


def delete(node, number):
    return node.post(f"{POINTS}/delete?wait=true", {"points": [number]})


def statuses(node, act, count=20):
    return [act(node, number).status_code for number in range(count)]


def refuses_upserts(node):
    return upsert(node, 1).status_code == 507


def test_one_full_follower_stops_nothing(disks):
    first = leader(disks)
    follower = next(node for node in disks if node is not first)
    fill(follower)
    wait_until(lambda: follower.cluster().get("disk") == "reserve", WITHIN_S, follower.cluster)
    for node in disks:
        assert set(statuses(node, upsert)) == {200}
    assert leader(disks) is first


def test_a_full_leader_hands_over_and_writes_go_on(disks):
    first = leader(disks)
    fill(first)
    wait_until(lambda: not first.leads() and leader(disks), WITHIN_S, "another leader")
    second = leader(disks)
    wait_until(lambda: upsert(second, 1).status_code == 200, WITHIN_S, "a write")
    for node in disks:
        assert set(statuses(node, upsert)) == {200}
    # The disk of the next leader is full too: one more transfer of leadership, after a delay.
    begun = time.monotonic()
    fill(second)
    empty(first)
    wait_until(lambda: not second.leads() and leader(disks), 2 * HAND_OVER_EVERY_S, "a third leader")
    assert time.monotonic() - begun > HAND_OVER_EVERY_S / 2


@pytest.mark.parametrize("count", [2, 3])
def test_a_full_majority_refuses_upserts_and_takes_deletes(disks, count):
    for node in disks[:count]:
        fill(node)
    wait_until(lambda: all(node.cluster().get("disk") == "reserve" for node in disks[:count]), WITHIN_S, "full disks")
    wait_until(lambda: all(refuses_upserts(node) for node in disks), WITHIN_S, "507")
    refused = upsert(disks[0], 1)
    assert refused.status_code == 507 and "disk" in refused.text
    for node in disks:
        assert set(statuses(node, upsert)) == {507}
        wait_until(lambda: delete(node, 0).status_code == 200, WITHIN_S, lambda: delete(node, 0).text)
        assert set(statuses(node, delete)) == {200}
    for node in disks[:count]:
        empty(node)
    wait_until(lambda: upsert(disks[0], 1).status_code == 200, WITHIN_S, "a write")
    for node in disks:
        assert set(statuses(node, upsert)) == {200}


def test_the_guard_runs_while_writes_go_on(disks):
    """Continuous writes until the disks are full: they are refused before that, and no process ends."""
    payload = "x" * 100_000
    pids = [node.pid for node in disks]

    def write(number):
        points = [{"id": n, "vector": [n, 1, 2, 3], "payload": {"x": payload}} for n in range(number, number + 100)]
        return disks[0].put(f"{POINTS}?wait=true", {"points": points}).status_code

    answers = []
    for number in range(0, 200):
        answers.append(write(100 * (number % 20)))
        if answers[-1] == 507:
            break
    assert answers[-1] == 507, set(answers)
    free = [os.statvfs(folder(node)) for node in disks]
    assert min(stat.f_bavail * stat.f_frsize for stat in free) > 64 << 20
    assert [node.pid for node in disks] == pids and all(node.is_ready() for node in disks)

