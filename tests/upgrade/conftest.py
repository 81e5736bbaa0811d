"""Fixtures of the upgrade tests."""

import pytest


@pytest.fixture
def report(capsys):
    """Prints a line, also when the test passes."""

    def print_line(text):
        with capsys.disabled():
            print(f"\n{text}")

    return print_line
