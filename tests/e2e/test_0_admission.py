"""The API server and `meridian render` accept and refuse the same specs of tests/admission/cases.yaml."""

import copy
import json
import os
from pathlib import Path

import pytest
import yaml

from kube import ROOT, CommandFailed, kubectl, run

TABLE = yaml.safe_load((ROOT / "tests/admission/cases.yaml").read_text())
CASES = [(verdict, case) for verdict in ("accepted", "refused") for case in TABLE[verdict]]
MERIDIAN = Path(os.environ["OPERATOR"]).with_name("meridian")


def document(case):
    """A base with one field replaced or removed."""
    made = copy.deepcopy(TABLE["bases"][case["base"]])
    *path, last = case["at"].split("/")[1:]
    place = made
    for key in path:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if "value" in case:
        place[last] = case["value"]
    else:
        del place[last]
    return made


@pytest.fixture(scope="module")
def definitions():
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        kubectl("apply", "--server-side", "-f", file)
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", file)
    yield
    # The chart contains its own CRDs.
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        kubectl("delete", "-f", file)


@pytest.mark.parametrize(("verdict", "case"), CASES, ids=[f"{verdict}: {case['what']}" for verdict, case in CASES])
def test_the_api_server_and_render_agree(verdict, case, definitions):
    made = document(case)
    beside = [TABLE["bases"]["cluster"]] if case["base"] == "link" else []
    text = "\n---\n".join(json.dumps(one) for one in [*beside, made])
    rendered = run(MERIDIAN, "render", "-f", "-", stdin=text, check=False)
    try:
        kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(made))
        admitted, why = True, ""
    except CommandFailed as refused:
        admitted, why = False, str(refused)
    assert admitted == (verdict == "accepted"), why
    assert (rendered.returncode == 0) == admitted, rendered.stderr
