"""Deletes by filter while others write: an acknowledged point that never matched stays, in both regions.

The leader of the primary region is killed meanwhile.
"""

import signal

from filtered import WITHIN_S, WRITERS, FilteredLoad
from regions import leader, wait_until

POINTS_PER_WRITER = 100


def test_an_acknowledged_point_that_never_matched_stays(two_regions, capsys):
    nodes, primary = two_regions.nodes, two_regions.region("us-east")
    with FilteredLoad(nodes, primary, POINTS_PER_WRITER) as load:
        for share in (0.25, 0.5, 0.75, 1):
            reached = lambda: load.faults() or load.progress() >= share * WRITERS * POINTS_PER_WRITER  # noqa: E731, B023
            wait_until(reached, WITHIN_S, "the writers go on")
            if share < 1:
                leader(primary).signal(signal.SIGKILL)
    wait_until(lambda: all(node.is_ready() for node in nodes), WITHIN_S, "all nodes are back")
    summary = load.check()
    with capsys.disabled():
        print(f"\ndelete by filter: {summary}")
