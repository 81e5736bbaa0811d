"""One region is rolled to the working tree, back, and forward again."""

import os
import signal

import pytest

from filtered import FilteredLoad
from regions import leader, wait_until
from releases import WITHIN_S, Releases
from rolls import RollLoad

SEED = os.environ.get("UPGRADE_SEED", "1")


@pytest.mark.parametrize("manager", ["old", "new"])
def test_no_write_is_lost_forward_back_and_forward_again(manager, tmp_path, report):
    """Either release allocates the replica ids: the operator of a cluster is upgraded before or after its pods."""
    with Releases(tmp_path, "old", "us-east:1x3", manager=manager) as group:
        with RollLoad(group.nodes, SEED) as load:
            group.roll("us-east", "new", load, kill="follower")
            group.roll("us-east", "old", load, kill="leader")
            group.roll("us-east", "new", load, kill="follower")
        report(f"one region, {manager} manager: {load.check()}")


def test_deletes_by_filter_span_both_releases(tmp_path, report):
    """One pod evaluates a delete by filter and all pods apply it. Every pod is a gateway."""
    with Releases(tmp_path, "old", "us-east:1x3") as group:
        with FilteredLoad(group.nodes, group.nodes) as load:
            group.roll("us-east", "new", load, kill="leader")
            group.roll("us-east", "old", load, kill="follower")
        report(f"deletes by filter: {load.check()}")


@pytest.mark.parametrize(("leading", "joining"), [("old", "new"), ("new", "old")])
def test_a_replica_joins_a_group_that_the_other_release_leads(leading, joining, tmp_path, report):
    """The joining replica has no log: it installs the leader's snapshot."""
    with Releases(tmp_path, leading, "us-east:1x3") as group:
        with RollLoad(group.nodes, SEED) as load:
            # A stopping node writes a snapshot and releases the log before it: the group can no longer send the whole log.
            for node in group.nodes:
                group.restart(node, leading)
            node = next(node for node in group.nodes if not node.leads())
            before = load.progress()
            group.choose(node.name, joining)
            pid = node.signal(signal.SIGKILL)
            folder = node.config.with_suffix("")
            folder.rename(folder.with_suffix(".lost"))  # without delay: the node restarts within 300 ms
            joined = lambda: node.pid != pid and node.cluster().get("replica", 0) > 3 and node.is_ready()  # noqa: E731
            wait_until(joined, WITHIN_S, lambda: f"{node.name} joins under a new id: {node.cluster()}")
            group.check_release(node, joining)
            assert leader(group.nodes) is not node
            wait_until(lambda: load.has_advanced(before), WITHIN_S, "the load progresses")
        report(f"{joining} joins {leading}: {load.check()}")

