"""Rendered resources for Strimzi are parsed by Strimzi without unknown fields."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/two-regions-kafka-strimzi"


def rendered():
    files = [argument for path in sorted(EXAMPLES.glob("*.yaml")) for argument in ("-f", str(path))]
    return subprocess.run([f"{os.environ['BIN']}/meridian", "render", *files], check=True, capture_output=True, text=True).stdout


def check(text):
    return subprocess.run([ROOT / "tests/kafka/strimzi/check"], input=text, capture_output=True, text=True, timeout=300)


def test_the_rendered_mirror_maker_2_is_read_whole():
    done = check(rendered())
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


@pytest.mark.parametrize("field", ["replicas:", "tasksMax:", "topicsPattern:", "groupId:", "state:"])
def test_a_field_that_strimzi_does_not_know_is_refused(field):
    text = rendered()
    assert field in text
    done = check(text.replace(field, f"un{field}"))
    assert done.returncode != 0
    assert f"un{field.removesuffix(':')}" in done.stderr
