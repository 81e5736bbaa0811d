"""Graceful stops, and a node without memory for a snapshot."""

import signal

import pytest
import yaml

from regions import Local, wait_until

POINTS = "/collections/kept/points"
WITHIN_S = 20


@pytest.fixture
def node(tmp_path):
    with Local(tmp_path, "us-east:1x1") as local:
        node = local.nodes[0]
        assert node.put("/collections/kept", {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
        assert upsert(node, range(500)).status_code == 200
        yield node


def upsert(node, ids):
    return node.put(f"{POINTS}?wait=true", {"points": [{"id": number, "vector": [number, 1, 2, 3]} for number in ids]})


def restart(node):
    """Stops the node gracefully; `meridian local` restarts it."""
    was = node.signal(signal.SIGTERM)
    wait_until(lambda: node.pid != was and node.is_ready(), WITHIN_S, "the node is back")
    wait_until(node.leads, WITHIN_S, "it leads")


def log(node):
    return (node.config.parent.parent / f"{node.name}.log").read_text()


def count(node):
    return node.post(f"{POINTS}/count", {}).json()["result"]["count"]


def test_a_stop_writes_a_snapshot_and_the_next_start_replays_nothing(node):
    restart(node)
    assert "stopped; the next start replays these entries entries_behind=0" in log(node)
    assert count(node) == 500
    restart(node)
    assert count(node) == 500


def test_without_memory_for_a_snapshot_upserts_are_refused_until_there_is_more(node):
    told = node.config.read_text()
    config = yaml.safe_load(told)
    config["limits"]["memory_bytes"] = 4 << 20
    node.config.write_text(yaml.safe_dump(config))
    restart(node)
    wait_until(lambda: (node.cluster().get("memory") or {}).get("insufficient"), WITHIN_S, node.cluster)
    assert node.cluster()["disk"] == "free"
    refused = upsert(node, [1])
    assert refused.status_code == 507 and "memory" in refused.text
    assert count(node) == 500
    assert node.post(f"{POINTS}/delete?wait=true", {"points": [1]}).status_code == 200
    # The final snapshot is skipped as well.
    node.config.write_text(told)
    restart(node)
    wait_until(lambda: upsert(node, [1, 500]).status_code == 200, WITHIN_S, node.cluster)
    assert node.cluster()["memory"]["insufficient"] is False and count(node) == 501
