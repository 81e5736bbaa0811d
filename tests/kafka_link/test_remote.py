"""eu-west reads the broker of us-east: valid, missing and invalid records."""

import signal

import pytest

from kafka import TOPIC, Broker
from regions import Local, leader, wait_until

COLLECTION = "/collections/kafka"
POINTS = f"{COLLECTION}/points"
WITHIN_S = 60
DELETE = '{"id":1,"op":"delete","ts":1,"collection":"1"}'


@pytest.fixture(scope="module")
def broker(module_folder):
    with Broker(module_folder("broker"), "us-east") as broker:
        yield broker


@pytest.fixture(scope="module")
def regions(broker, module_folder):
    """Two shards in us-east, so that one continues while the other is stopped; one shard in eu-west."""
    folder = module_folder("regions")
    with Local(folder, "us-east:2x1", "eu-west:1x1", brokers={"us-east": broker.address}) as local:
        east, west = local.region("us-east"), local.region("eu-west")
        made = east[0].put(COLLECTION, {"vectors": {"size": 2, "distance": "Dot"}})
        assert made.status_code == 200, made.text
        wait_until(lambda: west[0].get(COLLECTION).status_code == 200, WITHIN_S, lambda: links(west[0]))
        yield east, west[0]


def links(node):
    return node.get("/api/v1/links").json()


def origin(west, shard):
    """Status of one shard of us-east at eu-west."""
    [link] = links(west)["links"]
    return next((found for found in link["shards"] if found["shard"] == shard), {})


def digest(nodes):
    """The digest of a region is the sum of the digests of its shards."""
    return sum(int.from_bytes(bytes.fromhex(node.cluster()["digest"]), "little") for node in nodes) % 2**256


def published(east, shard):
    node = next(node for node in east if node.cluster().get("shard") == shard)
    return links(node)["delta_log"]["published_seq"]


def all_published(east):
    """Sum of the published sequences; None while a restarted publisher does not report one yet."""
    report = [published(east, shard) for shard in (1, 2)]
    return None if None in report else sum(report)


def write(east, first, count=20):
    body = {"points": [{"id": n, "vector": [n, 1]} for n in range(first, first + count)]}
    answer = east[0].put(POINTS, body)
    assert answer.status_code == 200, answer.text


def contains_points(west, first, count=20):
    answer = west.post(POINTS, {"ids": list(range(first, first + count))})
    return answer.status_code == 200 and len(answer.json()["result"]) == count


def assert_replicates(east, west, first):
    write(east, first)
    wait_until(lambda: contains_points(west, first), WITHIN_S, lambda: f"points from {first} on: {links(west)}")
    wait_until(lambda: digest(east) == digest([west]), WITHIN_S, lambda: f"equal digests: {links(west)}")


def forged_record(seq, kind="complete", shard=1, wall=1, value="{}"):
    """A record with headers like ours."""
    headers = {"kind": kind, "schema": 3, "needs": 1, "origin": "us-east", "shard": shard, "shards": 2, "epoch": 1}
    headers |= {"seq": seq, "hlc": 1, "write": "00000000-0000-0000-0000-000000000000", "index": 0}
    headers |= {"term": 1, "wall": wall}
    return ",".join(f"{name}={text}" for name, text in headers.items()) + "\t" + value


def test_writes_are_read_from_the_broker(regions, broker):
    east, west = regions
    assert_replicates(east, west, 1_000)
    report = links(west)
    assert (report["links"][0]["transport"], report["links"][0]["topic"]) == ("kafka", TOPIC)
    assert report["origin_fallbacks"] == 0 and report["reseeds"] == 0, report
    for shard in (1, 2):
        wait_until(lambda: origin(west, shard)["phase"] == "reading", WITHIN_S, lambda: links(west))
    for node in east:
        assert links(node)["delta_log"]["fault"] is None
    described = broker.topic("describe", TOPIC)
    assert "PartitionCount: 2" in described and "max.message.bytes=8388608" in described, described


@pytest.mark.parametrize("record", ['\t{"id": 1, "embedding": [1, 2]}', "kind=delta,schema=9\t{}"])
def test_an_undecodable_record_is_reported_and_skipped(regions, broker, record):
    east, west = regions
    before = origin(west, 1).get("poison_record")
    broker.topic("put", TOPIC, 0, lines=[record])
    wait_until(lambda: origin(west, 1).get("poison_record") not in (None, before), WITHIN_S, lambda: links(west))
    poison = origin(west, 1)["poison_record"]
    assert f"topic {TOPIC}, partition 0, offset " in poison and "sequence unknown" in poison, poison
    assert ("header schema" in poison) or ("written by a newer release: format version 9" in poison), poison
    assert origin(west, 2)["poison_record"] is None, "the other shard has nothing to do with it"
    metrics = west.http.get(f"{west.admin}/metrics").text
    assert 'meridian_link_poison_record{origin="us-east",shard="1",partition="0",offset="' in metrics
    assert_replicates(east, west, 2_000 if "schema" in record else 3_000)


def test_an_invalid_delta_is_fetched_from_the_origin(regions, broker):
    """A forged record has the next sequence; the real delta follows behind it, so it is fetched from the origin."""
    east, west = regions
    # The applied position of a status is up to 100 ms old, the published one is not.
    seq = published(east, 1) + 1
    uid = next(iter(broker.topic("read", TOPIC).split('"collection":"')[1:])).split('"')[0]
    value = f'{{"id":1,"op":"upsert","ts":1,"collection":"{uid}","embedding":[1,2,3]}}'
    broker.topic("put", TOPIC, 0, lines=[forged_record(seq, kind="delta", value=value)])
    wait_until(lambda: f"sequence {seq}: " in str(origin(west, 1).get("poison_record")), WITHIN_S, lambda: links(west))
    assert "dimension" in origin(west, 1)["poison_record"]
    assert_replicates(east, west, 4_000)


def test_a_record_from_the_future_sends_the_link_to_the_origin_and_back(regions, broker):
    east, west = regions
    before = links(west)["origin_fallbacks"]
    broker.topic("put", TOPIC, 0, lines=[forged_record(1_000_000, kind="delta", value=DELETE)])
    wait_until(lambda: links(west)["origin_fallbacks"] > before, WITHIN_S, lambda: links(west))
    wait_until(lambda: "the origin has no more" in str(origin(west, 1).get("poison_record")), WITHIN_S, lambda: links(west))
    assert_replicates(east, west, 5_000)
    wait_until(lambda: origin(west, 1)["phase"] == "reading", WITHIN_S, lambda: links(west))


def test_a_record_from_the_future_does_not_stop_the_next_leader(regions, broker):
    """The leader is killed right after the record was appended, so its successor reads it back."""
    east, west = regions
    node = next(node for node in east if node.cluster().get("shard") == 1)
    pid = node.signal(signal.SIGSTOP)
    broker.topic("put", TOPIC, 0, lines=[forged_record(2_000_000, kind="delta", value=DELETE)])
    node.signal(signal.SIGKILL)
    wait_until(lambda: node.pid not in (None, pid) and node.is_ready(), WITHIN_S, "it is started again")
    report = wait_until(lambda: all_published(east), WITHIN_S, lambda: links(node))
    assert report < 1_000_000, "a sequence of the log, not the one that was forged"
    assert_replicates(east, west, 5_500)


def test_deltas_lost_by_the_topic_are_fetched_from_the_origin(regions, broker):
    """Retention took what eu-west had not read."""
    east, west = regions
    detours = links(west)["origin_fallbacks"]
    wait_until(lambda: all_published(east) is not None, WITHIN_S, lambda: [links(node) for node in east])
    west.signal(signal.SIGSTOP)
    try:
        # The fetch of eu-west from before its stop is still answered, with the first of these records.
        for first in (6_000, 6_500):
            before = all_published(east)
            write(east, first)
            wait_until(lambda: (all_published(east) or 0) >= before + 20, WITHIN_S, "all is published")
        broker.topic("truncate", TOPIC)
    finally:
        west.signal(signal.SIGCONT)
    wait_until(lambda: contains_points(west, 6_000) and contains_points(west, 6_500), WITHIN_S, lambda: links(west))
    assert_replicates(east, west, 7_000)
    assert links(west)["origin_fallbacks"] > detours, links(west)


def test_a_killed_broker_loses_nothing(regions, broker):
    east, west = regions
    broker.kill()
    write(east, 8_000)
    wait_until(lambda: "broker" in str(origin(west, 1).get("fault")), WITHIN_S, lambda: links(west))
    wait_until(lambda: links(leader(east[:1]))["delta_log"]["fault"], WITHIN_S, "the publisher says so")
    broker.start()
    wait_until(lambda: contains_points(west, 8_000), WITHIN_S, lambda: links(west))
    assert_replicates(east, west, 9_000)
    wait_until(lambda: links(leader(east[:1]))["delta_log"]["fault"] is None, WITHIN_S, "it is published again")
