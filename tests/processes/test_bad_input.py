"""Invalid input of clients and operators: each error is reported, no data is lost, no node restarts."""

import contextlib
import shutil
import socket
import subprocess

import httpx
import pytest

from regions import BIN, KEY, client, wait_until

COLLECTION = "/collections/kept"
POINTS = f"{COLLECTION}/points"
POINT_COUNT = 20
START_FAILS_WITHIN_S = 30  # invalid configurations fail at once; this is for a loaded machine


@pytest.fixture(scope="module")
def nodes(one_region):
    nodes = one_region.nodes
    assert nodes[0].put(COLLECTION, {"vectors": {"size": 3, "distance": "Dot"}}).status_code == 200
    points = [{"id": n, "vector": [n, 1, 2], "payload": {"n": n}} for n in range(POINT_COUNT)]
    assert nodes[1].put(POINTS, {"points": points}).status_code == 200
    return nodes


@pytest.fixture(autouse=True)
def no_data_is_lost_and_no_node_restarts(nodes):
    before = [node.pid for node in nodes]
    yield
    for node in nodes:
        assert node.post(f"{POINTS}/count", {}).json()["result"]["count"] == POINT_COUNT
    assert [node.pid for node in nodes] == before
    assert nodes[0].put(POINTS, {"points": [{"id": 0, "vector": [0, 1, 2], "payload": {"n": 0}}]}).status_code == 200


def raw(node, method, path, body, **headers):
    return node.http.request(method, path, content=body, headers={"content-type": "application/json", **headers})


def point(vector, id="1", payload="{}"):
    return f'{{"points": [{{"id": {id}, "vector": {vector}, "payload": {payload}}}]}}'


BODIES = {
    "broken": ('{"points": [', "Format error"),
    "no json": ("hello", "Format error"),
    "empty": ("", "Format error"),
    "two values": (point("[1,2,3]") + "{}", "Format error"),
    "no utf-8": (b'{"points": "\xff\xfe"}', "Format error"),
    "unknown field": ('{"point": []}', "point"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, "nested deeper"),
    "deep payload": (point("[1,2,3]", payload='{"a":' * 200 + "1" + "}" * 200), "nested deeper"),
    "NaN": (point("[NaN, 1, 2]"), "Format error"),
    "infinity": (point("[Infinity, 1, 2]"), "Format error"),
    "1e999": (point("[1e999, 1, 2]"), "Format error"),
    "beyond a float of 32 bits": (point("[1e39, 1, 2]"), "number out of range"),
    "a text for a number": (point('["1", 1, 2]'), "Format error"),
    "too short": (point("[1, 2]"), "dimension"),
    "too long": (point("[1, 2, 3, 4]"), "dimension"),
    "no vector": ('{"points": [{"id": 1}]}', "vector"),
    "unknown vector": (point('{"body": [1, 2, 3]}'), "lacks the unnamed vector"),
    "a negative id": (point("[1,2,3]", id="-1"), "id"),
    "a text that is no uuid": (point("[1,2,3]", id='"abc"'), "abc"),
    "nothing": ('{"points": []}', "at least one"),
}


@pytest.mark.parametrize("case", BODIES)
def test_an_invalid_body_is_refused_with_the_reason(nodes, case):
    body, expected = BODIES[case]
    for node in nodes:
        answer = raw(node, "PUT", POINTS, body)
        assert answer.status_code == 400, answer.text
        assert expected in answer.json()["status"]["error"]


def test_too_many_points_are_refused(nodes):
    answer = nodes[0].post(f"{POINTS}/delete", {"points": list(range(100_001))})
    assert answer.status_code in (400, 413), answer.text
    answer = nodes[0].post(f"{POINTS}/count", {"filter": {"must": {"has_id": list(range(10_001))}}})
    assert answer.status_code == 400, answer.text
    assert "10000 values" in answer.json()["status"]["error"]


QUERIES = {
    "a limit beyond the most": ({"query": [1, 2, 3], "limit": 10_001}, "limit"),
    "a limit of nothing": ({"query": [1, 2, 3], "limit": 0}, "limit"),
    "a wrong dimension": ({"query": [1, 2]}, "dimension"),
    "an unknown vector": ({"query": [1, 2, 3], "using": "body"}, "body"),
    "a filter that is none": ({"query": [1, 2, 3], "filter": {"must": [{"key": "n"}]}}, "filter"),
    "too many conditions": (
        {"query": [1, 2, 3], "filter": {"must": [{"key": "n", "match": {"value": 1}}] * 1_001}},
        "conditions",
    ),
    "an unknown field": ({"query": [1, 2, 3], "color": "blue"}, "color"),
}


@pytest.mark.parametrize("case", QUERIES)
def test_an_invalid_query_is_refused_with_the_reason(nodes, case):
    body, expected = QUERIES[case]
    answer = nodes[1].post(f"{POINTS}/query", body)
    assert answer.status_code == 400
    assert expected in answer.json()["status"]["error"]


def test_an_oversized_body_is_refused_with_or_without_content_length(nodes):
    large = b" " * (33 << 20)
    pieces = (large[at : at + (1 << 20)] for at in range(0, len(large), 1 << 20))
    for body in (large, pieces):
        answer = raw(nodes[0], "PUT", POINTS, body)
        assert answer.status_code == 413
        assert "larger than 33554432 bytes" in answer.json()["status"]["error"]


def test_an_unknown_collection_is_named(nodes):
    for method, path in [("PUT", "points"), ("POST", "points/count"), ("POST", "points/scroll")]:
        body = point("[1,2,3]") if method == "PUT" else "{}"
        answer = raw(nodes[2], method, f"/collections/nowhere/{path}", body)
        assert answer.status_code == 404
        assert "Collection `nowhere` doesn't exist!" in answer.json()["status"]["error"]


@pytest.mark.parametrize("name", ["..%2F..%2Fetc", "a%2Fb", "%00", "a" * 300, "%2E%2E"])
def test_a_name_never_becomes_a_path(nodes, name):
    answer = nodes[0].put(f"/collections/{name}", {"vectors": {"size": 3, "distance": "Dot"}})
    assert answer.status_code == 400, answer.text


def test_requests_without_the_key_are_refused(nodes):
    for key, expected in (("wrong-key", "Invalid API key"), ("", "Invalid API key"), (None, "Must provide an API key")):
        with client(nodes[0].api) as client_without_key:
            del client_without_key.headers["api-key"]
            if key is not None:
                client_without_key.headers["api-key"] = key
            for path in ("/collections", COLLECTION, "/api/v1/cluster", "/nowhere"):
                answer = client_without_key.get(path)
                assert answer.status_code == 401
                assert expected in answer.json()["status"]["error"]
            assert client_without_key.put("/collections/stolen", json={"vectors": {"size": 3, "distance": "Dot"}}).status_code == 401
            assert client_without_key.get("/livez").status_code == 200
            assert client_without_key.get("/").json()["version"]  # as Qdrant: clients ask for it before they have a key


def test_the_peer_port_requires_a_certificate(nodes):
    host, port = nodes[0].peer.split(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, b"\x16\x03\x01\xff\xff" + b"a" * 100):
        with socket.create_connection((host, int(port)), timeout=20) as client_without_key:
            client_without_key.sendall(data)
            try:
                while client_without_key.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    wait_until(nodes[0].is_ready, 5, "the node goes on")


PORTS = ("api_port", "admin_port", "peer_port")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_expecting_failure(config):
    """Starts a node that must fail; returns its stderr."""
    done = subprocess.run(
        [BIN / "meridian-node", "--config", config, "--advertise", "127.0.0.1:1"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_FAILS_WITHIN_S,
    )
    assert done.returncode != 0, done.stderr
    return done.stderr


@contextlib.contextmanager
def running(config):
    """Runs a node; yields its log and a function that returns its ports by name."""
    log = config.with_suffix(".log")
    lines = config.read_text().splitlines()
    port = lambda name: next(int(line.split(":")[1]) for line in lines if line.strip().startswith(f"{name}_port:"))
    with log.open("w") as stderr:
        command = [BIN / "meridian-node", "--config", config, "--advertise", f"127.0.0.1:{port('peer')}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    try:
        yield log, port
    finally:
        process.kill()
        process.wait()


def status_of(url):
    """HTTP status of a URL; 0 while it does not answer."""
    try:
        return httpx.get(url, headers={"api-key": KEY}, timeout=5, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def modified_config(node, tmp_path, change):
    """A modified copy of a node's configuration."""
    config = tmp_path / "node.yaml"
    config.write_text(change(node.config.read_text()))
    return config


def line_of(config, text):
    return next(n for n, line in enumerate(config.read_text().splitlines(), 1) if text in line)


def test_an_unknown_key_in_the_configuration_is_named_with_its_line(nodes, tmp_path):
    config = modified_config(nodes[0], tmp_path, lambda text: text.replace("listen:\n", "listen:\n  color: 8080\n"))
    output = start_expecting_failure(config)
    assert "color" in output
    assert f"line {line_of(config, 'color')}" in output


def test_a_value_out_of_bounds_is_named_with_its_line(nodes, tmp_path):
    config = modified_config(nodes[0], tmp_path, lambda text: text.replace("tick_ms: 20", "tick_ms: 0"))
    output = start_expecting_failure(config)
    assert "tick_ms" in output
    assert f"line {line_of(config, 'tick_ms')}" in output


def test_a_configuration_of_a_later_format_is_refused_by_its_format(nodes, tmp_path):
    output = start_expecting_failure(modified_config(nodes[0], tmp_path, lambda text: text.replace("format: 1", "format: 2")))
    assert "format 2 is not known to this version; format 1 is" in output


@pytest.mark.parametrize("text", ["", "{", "- a\n- b\n", "format: one\n", "\0"])
def test_a_file_that_is_no_configuration_is_refused(nodes, tmp_path, text):
    config = modified_config(nodes[0], tmp_path, lambda _: text)
    assert str(config) in start_expecting_failure(config)


def test_a_folder_of_another_cluster_or_shard_is_not_touched(nodes, tmp_path):
    """The folder of a running replica is copied, so that its lock is not the reason for the refusal. The node stays up to report the
    owner to the operator, and serves nothing."""
    copied = tmp_path / "data"
    shutil.copytree(nodes[0].config.with_suffix(""), copied)
    (copied / "replica" / ".lock").unlink()

    def elsewhere(text, **other):
        lines = [f"data_dir: {copied}" if line.startswith("data_dir:") else line for line in text.splitlines()]
        lines = [f"  {key}: {free_port()}" if (key := line.strip().split(":")[0]) in PORTS else line for line in lines]
        lines = [f"{key}: {other[key]}" if (key := line.split(":")[0]) in other else line for line in lines]
        return "\n".join(lines)

    cluster = "00000000-0000-0000-0000-000000000001"
    for other in ({"cluster_id": cluster}, {"region": "eu-west"}):
        config = modified_config(nodes[0], tmp_path, lambda text: elsewhere(text, **other))
        with running(config) as (log, port):
            matching_line = lambda: next((line for line in log.read_text().splitlines() if "the volume is another's" in line), "")
            wait_until(matching_line, 20, log.read_text)
            assert "us-east, shard 1 of 1" in matching_line() and next(iter(other.values())) in matching_line(), matching_line()
            wait_until(lambda: status_of(f"http://127.0.0.1:{port('admin')}/livez") == 200, 20, log.read_text)
            assert status_of(f"http://127.0.0.1:{port('admin')}/readyz") == 503
            assert status_of(f"http://127.0.0.1:{port('api')}/collections") == 503
    before = sorted(path.name for path in (copied / "replica").iterdir() if path.name != ".lock")
    assert before == ["identity", "log", "snapshots"]
