"""Regions that are shared by the tests of one file."""

import pytest

from folders import module_folder  # noqa: F401
from regions import Local


@pytest.fixture(scope="module")
def one_region(module_folder):
    with Local(module_folder("one-region"), "us-east:1x3") as local:
        yield local


@pytest.fixture(scope="module")
def two_regions(module_folder):
    with Local(module_folder("two-regions"), "us-east:1x3", "eu-west:1x3") as local:
        yield local
