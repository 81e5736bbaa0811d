"""Fixtures of tests/processes."""

from folders import module_folder  # noqa: F401
