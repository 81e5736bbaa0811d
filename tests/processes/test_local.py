"""`meridian local` with deleted or damaged folders: no acknowledged write is lost, and no replica returns under its old id."""

import shutil
import signal

import pytest

from regions import Local, wait_until

COLLECTION = "/collections/kept"
POINTS = f"{COLLECTION}/points"
KEPT = 500
HEAL_S = 60


def write(node, first, count):
    points = [{"id": n, "vector": [n, 1, 2, 3]} for n in range(first, first + count)]
    answer = node.put(f"{POINTS}?wait=true", {"points": points})
    assert answer.status_code == 200, answer.text


def counts(nodes):
    return [node.post(f"{POINTS}/count", {"exact": True}).json().get("result", {}).get("count") for node in nodes]


def replicas(nodes):
    return [node.cluster().get("replica") for node in nodes]


def folder(node):
    return node.config.with_suffix("") / "replica"


def lose_folder(node):
    shutil.rmtree(folder(node))


def lose_identity(node):
    (folder(node) / "identity").unlink()


def damage_identity(node):
    identity = folder(node) / "identity"
    content = bytearray(identity.read_bytes())
    content[-1] ^= 1
    identity.write_bytes(content)


@pytest.mark.parametrize("lost", range(3))
@pytest.mark.parametrize("damage", [lose_folder, lose_identity, damage_identity])
def test_a_replica_that_lost_its_folder_is_replaced_and_no_write_is_lost(tmp_path, damage, lost):
    with Local(tmp_path, "us-east:1x3", restart=False) as local:
        assert local.nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
        # One replica is down: only two hold the acknowledged writes, and one of them loses its folder below.
        assert local.nodes[(lost + 1) % 3].signal(signal.SIGKILL)
        writer = local.nodes[lost]
        first = {"points": [{"id": 0, "vector": [0, 1, 2, 3]}]}
        wait_until(lambda: writer.put(f"{POINTS}?wait=true", first).status_code == 200, HEAL_S, "a write")
        write(writer, 0, KEPT)
        before = local.nodes
    damage(before[lost])
    with Local(tmp_path, "us-east:1x3") as local:
        assert counts(local.nodes) == [KEPT] * 3
        expected = [1, 2, 3]
        expected[lost] = 4
        assert replicas(local.nodes) == expected
        write(local.nodes[0], KEPT, 10)
        assert counts(local.nodes) == [KEPT + 10] * 3


def test_a_folder_that_is_deleted_while_its_node_runs_is_replaced(tmp_path):
    with Local(tmp_path, "us-east:1x3") as local:
        assert local.nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
        write(local.nodes[0], 0, KEPT)
        lost = local.nodes[1]
        lose_folder(lost)
        assert lost.signal(signal.SIGKILL)
        wait_until(lambda: replicas(local.nodes) == [1, 4, 3], HEAL_S, lambda: f"replaced: {replicas(local.nodes)}")
        wait_until(lambda: all(node.is_ready() for node in local.nodes), HEAL_S, "ready")
        assert counts(local.nodes) == [KEPT] * 3


def test_two_lost_folders_of_three_are_named_and_nothing_is_founded_again(tmp_path):
    with Local(tmp_path, "us-east:1x3") as local:
        assert local.nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
        before = local.nodes
    for node in before[:2]:
        lose_folder(node)
    with pytest.raises(AssertionError) as refused:
        Local(tmp_path, "us-east:1x3")
    assert "none leads a majority" in str(refused.value)
    assert not (folder(before[0]) / "identity").exists()


def test_a_single_replica_that_lost_its_folder_is_not_founded_again(tmp_path):
    with Local(tmp_path, "us-east:1x1") as local:
        node = local.nodes[0]
    lose_folder(node)
    with pytest.raises(AssertionError) as refused:
        Local(tmp_path, "us-east:1x1")
    assert "bring a volume back" in str(refused.value)
