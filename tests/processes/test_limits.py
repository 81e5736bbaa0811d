"""Limits on slow reads, disconnected clients, and bodies that grow when decoded; other requests are not affected."""

import concurrent.futures
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from regions import KEY, Local, client, wait_until

POINTS = 40_000
# No condition matches a point, so all are evaluated for every point: 40 million evaluations, seconds of work.
SLOW = {"filter": {"should": [{"key": f"nowhere{n}", "match": {"value": n}} for n in range(1_000)]}}
BODY = 31 << 20


@pytest.fixture(scope="module")
def node(module_folder):
    with Local(module_folder("limits"), "us-east:1x1") as local:
        node = local.nodes[0]
        created = node.put("/collections/c", {"vectors": {"size": 4, "distance": "Euclid"}})
        assert created.status_code == 200, created.text
        for first in range(0, POINTS, 1_000):
            points = [{"id": n, "vector": [n % 7, n % 11, n % 13, 1], "payload": {"n": n}} for n in range(first, first + 1_000)]
            assert node.put("/collections/c/points", {"points": points}).status_code == 200
        yield node


def metric(node, name):
    text = httpx.get(f"{node.admin}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? ([0-9.]+)", text, re.MULTILINE))


def request(node, method, path, **options):
    """Response to a request on a new connection."""
    with client(node.api) as alone:
        return alone.request(method, path, **options)


def send_without_reading(node, path, body):
    """A connection with a complete request whose response is not read."""
    url = urlsplit(node.api)
    connection = socket.create_connection((url.hostname, url.port))
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\napi-key: {KEY}\r\ncontent-type: application/json\r\n"
    connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def test_a_slow_read_is_answered_once_and_does_not_hold_up_others(node):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(request, node, "POST", "/collections/c/points/count", json=SLOW, timeout=120) for _ in range(2)]
        searched = 0
        while not all(count.done() for count in slow):
            found = node.post("/collections/c/points/query", {"query": [1, 2, 3, 1], "limit": 3})
            assert found.status_code == 200, found.text
            searched += 1
        assert all(count.result().json()["result"] == {"count": 0} for count in slow), [c.result().text for c in slow]
    assert searched > 3, "searches went on beside them"


def test_a_slow_read_ends_when_its_client_leaves(node):
    before = metric(node, "meridian_reads_aborted_total")
    body = httpx.Request("POST", "http://x", json=SLOW).content
    connections = [send_without_reading(node, "/collections/c/points/count", body) for _ in range(6)]
    # There are two threads for long reads: while one waits, two run. Some of the six may have been refused.
    waiting = lambda: metric(node, "meridian_read_queue_depth")
    wait_until(lambda: waiting() >= 1, 20, "the reads do not wait")
    least = waiting() + 2
    for connection in connections:
        connection.close()
    stopped = lambda: metric(node, "meridian_reads_aborted_total") - before
    wait_until(lambda: stopped() >= least, 20, lambda: f"{stopped()} of at least {least} reads were ended")
    assert metric(node, "meridian_read_queue_depth") == 0


def test_a_read_ends_at_its_timeout(node):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        post = lambda: request(node, "POST", "/collections/c/points/count?timeout=1", json=SLOW, timeout=60)
        answers = [count.result() for count in [pool.submit(post) for _ in range(8)]]
    assert {answer.status_code for answer in answers} <= {200, 408, 429}, [answer.text for answer in answers]


def body_of(before, element, after):
    count = (BODY - len(before) - len(after)) // (len(element) + 1)
    return (before + ",".join([element] * count) + after).encode()


ATTACKS = {
    "empty filters": ("POST", "points/count", '{"filter":{"must":[', "{}", "]}}"),
    "empty searches": ("POST", "points/query/batch", '{"searches":[', "{}", "]}"),
    "empty objects": ("PUT", "points", '{"points":[', "{}", "]}"),
    "tiny points": ("PUT", "points", '{"points":[', '{"id":1,"vector":[1,2,3,4]}', "]}"),
    "nested arrays": ("PUT", "points", '{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"a":[', "[[],[]]", "]}}]}"),
    "numbers": ("POST", "points/count", '{"filter":{"must":{"key":"a","match":{"any":[', "1", "]}}}}"),
}


def memory(node, name):
    status = Path(f"/proc/{node.pid}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) << 10


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_body_needs_at_most_four_times_its_bytes(node, attack):
    method, path, before, element, after = ATTACKS[attack]
    body = body_of(before, element, after)
    rest = memory(node, "VmRSS")
    Path(f"/proc/{node.pid}/clear_refs").write_text("5")
    headers = {"content-type": "application/json"}
    answer = node.http.request(method, f"/collections/c/{path}", content=body, headers=headers, timeout=120)
    assert answer.status_code in (400, 413), answer.text
    grown = memory(node, "VmHWM") - rest
    # Buffers of sockets and threads are allowed for.
    assert grown <= 4 * len(body) + (1 << 20) + (8 << 20), f"{grown >> 20} MiB for {len(body) >> 20} MiB"


def test_many_such_bodies_at_once_are_refused_within_the_budget(node):
    method, path, before, element, after = ATTACKS["empty searches"]
    body = body_of(before, element, after)
    rest = memory(node, "VmRSS")
    headers = {"content-type": "application/json"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ask = lambda: request(node, method, f"/collections/c/{path}", content=body, headers=headers, timeout=120)
        answers = [answer.result() for answer in [pool.submit(ask) for _ in range(8)]]
    assert {answer.status_code for answer in answers} <= {413, 429}, [answer.text for answer in answers]
    assert node.post("/collections/c/points/count", {}).json()["result"]["count"] == POINTS
    kept = lambda: memory(node, "VmRSS") - rest
    wait_until(lambda: kept() < 48 << 20, 30, lambda: f"{kept() >> 20} MiB stay")


def test_a_full_size_body_of_ordinary_points_is_accepted(node):
    assert node.put("/collections/full", {"vectors": {"size": 100, "distance": "Dot"}}).status_code == 200
    vector = ",".join(str(round(0.731 * n % 1, 6)) for n in range(100))
    point = '{"id":%d,"vector":[' + vector + '],"payload":{"city":"Berlin","count":17,"tags":["a","b"]}}'
    body = '{"points":[' + ",".join(point % n for n in range(BODY // (len(point) + 7))) + "]}"
    headers = {"content-type": "application/json"}
    answer = node.http.put("/collections/full/points", content=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    count = node.post("/collections/full/points/count", {}).json()["result"]["count"]
    assert count == BODY // (len(point) + 7) > 25_000
    assert node.http.delete("/collections/full").status_code == 200


def test_the_metric_series_of_a_dropped_collection_disappear(node):
    assert node.put("/collections/gone", {"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
    assert node.put("/collections/gone/points", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}).status_code == 200
    assert node.post("/collections/gone/points/query", {"query": [1, 2, 3, 4]}).status_code == 200
    series = 'collection="gone"'
    wait_until(lambda: series in httpx.get(f"{node.admin}/metrics").text, 10, "no series of the collection")
    assert node.http.delete("/collections/gone").status_code == 200
    wait_until(lambda: series not in httpx.get(f"{node.admin}/metrics").text, 10, "the series stays")
