"""Two regions run different releases, in both assignments, over direct links."""

import os

from filtered import FilteredLoad
from releases import Releases
from rolls import RollLoad

SEED = os.environ.get("UPGRADE_SEED", "1")
REGIONS = ("us-east:1x3", "eu-west:1x3")


def test_no_write_is_lost_between_regions_of_different_releases(tmp_path, report):
    with Releases(tmp_path, "old", *REGIONS) as group:
        with RollLoad(group.nodes, SEED) as load:
            group.roll("eu-west", "new", load, kill="follower")  # the primary region is old
            group.roll("us-east", "new", load, kill="leader")
            group.roll("eu-west", "old", load, kill="leader")  # the primary region is new
            group.roll("us-east", "old", load, kill="follower")
            group.roll("us-east", "new", load, kill="leader")
            group.roll("eu-west", "new", load, kill="follower")
        report(f"two regions: {load.check()}")


def test_deletes_by_filter_reach_a_region_of_the_other_release(tmp_path, report):
    with Releases(tmp_path, "old", *REGIONS) as group:
        with FilteredLoad(group.nodes, group.region("us-east")) as load:
            group.roll("us-east", "new", load, kill="follower")  # new deltas, old secondary
            group.roll("eu-west", "new", load, kill="leader")
            group.roll("us-east", "old", load, kill="leader")  # old deltas, new secondary
        report(f"deletes by filter in two regions: {load.check()}")
