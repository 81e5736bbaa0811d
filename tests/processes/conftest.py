"""Regions that are shared by the tests of one file."""

import pytest

from regions import Local


@pytest.fixture(scope="module")
def one_region(tmp_path_factory):
    with Local(tmp_path_factory.mktemp("one-region"), "us-east:1x3") as local:
        yield local


@pytest.fixture(scope="module")
def two_regions(tmp_path_factory):
    with Local(tmp_path_factory.mktemp("two-regions"), "us-east:1x3", "eu-west:1x3") as local:
        yield local
