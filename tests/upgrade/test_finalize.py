"""A build that supports a later behavior version is rolled out and back, then the version is finalized.

The version is artificial: test builds support it if `MERIDIAN_TEST_NEXT_VERSION=1` is set, and a payload with the key
`meridian.next` needs it. Replica ids are allocated by a build that does not support it, which therefore finalizes nothing.
"""

import os

from load import POINTS
from regions import leader, wait_until
from releases import WITHIN_S, Releases
from rolls import RollLoad

SEED = os.environ.get("UPGRADE_SEED", "1")
VERSION = 2
POINT = 1_000_000  # no writer of the load has it


def write(node):
    """Sends an upsert that needs the later version."""
    point = {"id": POINT, "vector": [1, 2, 3, 4], "payload": {"counter": 0, "meridian.next": True}}
    return node.put(f"{POINTS}?wait=true", {"points": [point]})


def check_refused(nodes):
    """Asserts that every node refuses the write and stores no part of it."""
    for node in nodes:
        response = write(node)
        assert response.status_code == 503 and "version 2" in response.text, f"{response.status_code} {response.text}"
        read = node.post(POINTS, {"ids": [POINT]})
        assert read.status_code == 200 and not read.json()["result"], read.text


def check_accepted(nodes, readers):
    """Asserts that every node accepts the write, and that reads with its token return it in all regions."""
    for node in nodes:
        response = write(node)
        assert response.status_code == 200, response.text
    demand = {"x-consistency-token": response.headers["x-consistency-token"]}
    for node in readers:
        holds = lambda: node.post(POINTS, {"ids": [POINT]}, headers=demand).json().get("result")  # noqa: B023,E731
        wait_until(holds, WITHIN_S, f"{node.name} returns the point")


def test_a_release_can_be_rolled_back_until_its_version_is_finalized(tmp_path, report):
    with Releases(tmp_path, "old", "us-east:1x3") as group:
        with RollLoad(group.nodes, SEED) as load:
            group.roll("us-east", "next", load, kill="follower")
            check_refused(group.nodes)
            group.roll("us-east", "old", load, kill="leader")
            group.roll("us-east", "next", load, kill="follower")
            # A pod whose release does not support the version would stop at its entry.
            behind = next(node for node in group.nodes if not node.leads())
            group.restart(behind, "new")
            assert "knows" in (reason := group.call("us-east", "finalize", VERSION)), reason
            group.restart(behind, "next")
            check_refused(group.nodes)
            before = load.progress()
            assert group.call("us-east", "finalize", VERSION) == ""
            assert group.call("us-east", "publish", VERSION) == ""
            wait_until(lambda: load.has_advanced(before), WITHIN_S, "the load progresses")
            # The version is part of the log, so it survives a change of the leader.
            group.restart(leader(group.nodes), "next")
        report(f"finalized in one region: {load.check()}")
        check_accepted(group.nodes, group.nodes)


def test_a_later_version_begins_when_both_regions_have_finalized_it(tmp_path, report):
    with Releases(tmp_path, "old", "us-east:1x3", "eu-west:1x3") as group:
        with RollLoad(group.nodes, SEED) as load:
            group.roll("eu-west", "next", load, kill="follower")
            group.roll("us-east", "next", load, kill="leader")
            check_refused(group.nodes)
            assert group.call("eu-west", "finalize", VERSION) == ""
            check_refused(group.nodes)
            # A version can be published only after every region has finalized it.
            assert group.call("us-east", "publish", VERSION) != ""
            assert group.call("us-east", "finalize", VERSION) == ""
            check_refused(group.nodes)
            before = load.progress()
            for region in ("eu-west", "us-east"):
                assert group.call(region, "publish", VERSION) == ""
            wait_until(lambda: load.has_advanced(before), WITHIN_S, "the load progresses")
        report(f"finalized in two regions: {load.check()}")
        check_accepted(group.region("us-east"), group.nodes)
