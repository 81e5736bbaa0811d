"""Load through the broker of us-east, and through MirrorMaker 2: broker, leaders and mirror are killed, no write is lost or
duplicated."""

from kafka import Broker, Mirror
from load import COLLECTION, Load
from regions import Local, leader, wait_until
from test_chaos import (
    MIN_PROGRESS, ROUND_S, WriteAudit, acknowledged_by, advanced, applied, check_that_the_audit_detects_loss, has_converged,
    inject_fault, reported_state,
)

WITHIN_S = 120  # a mirror that was killed is waited for by its group
SEED = "kafka"


def test_no_write_is_lost_or_duplicated_through_a_broker(tmp_path, capsys):
    with Broker(tmp_path / "broker", "us-east") as broker:
        with Local(tmp_path / "regions", "us-east:1x3", "eu-west:1x3", brokers={"us-east": broker.address}) as local:
            run_load_with_kills(local, broker, capsys)


def test_no_write_is_lost_or_duplicated_through_a_mirror(tmp_path, capsys):
    with Broker(tmp_path / "here", "us-east") as here, Broker(tmp_path / "there", "eu-west") as there:
        by = {"us-east": here.address, "eu-west": there.address}
        with Local(tmp_path / "regions", "us-east:1x3", "eu-west:1x3", brokers=by) as local:
            with Mirror(tmp_path, here, there) as mirror:
                run_load_with_kills(local, here, capsys, mirror)


def run_load_with_kills(local, broker, capsys, mirror=None):
    nodes = local.nodes
    made = nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Euclid"}})
    assert made.status_code == 200, made.text
    is_visible = lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes)  # noqa: E731
    wait_until(is_visible, WITHIN_S, lambda: f"both regions know the collection: {links(local)}")
    definitions = applied(nodes[0])
    with Load(nodes, SEED) as load:
        wait_until(lambda: advanced(load, [0] * len(load.clients), MIN_PROGRESS), ROUND_S, "the load begins")

        def check_progress(what):
            """The load makes progress, and its writes are replicated."""
            assert not load.faults(), "\n".join(load.faults())
            before = load.progress()
            wait_until(lambda: advanced(load, before), ROUND_S, f"the load goes on: {what}")
            newest = max(applied(node) for node in local.region("us-east"))
            arrived = lambda: all(applied(node) >= newest for node in local.region("eu-west"))  # noqa: E731
            wait_until(arrived, WITHIN_S, lambda: f"deltas arrive: {what}: {links(local)}")

        check_progress("before any fault")
        broker.kill()
        wait_until(lambda: publisher(local)["fault"], ROUND_S, "the publisher misses its broker")
        broker.start()
        check_progress("the broker was killed")
        for region in ("us-east", "eu-west"):
            inject_fault("kill", leader(local.region(region)), load)
            check_progress(f"the leader of {region} was killed")
        if mirror:
            mirror.kill()
            mirror.start()
            check_progress("the mirror was killed")
    assert not load.faults(), "\n".join(load.faults())
    min_applied = definitions + acknowledged_by(load)
    wait_until(lambda: has_converged(nodes, min_applied), WITHIN_S, lambda: f"equal digests: {[reported_state(node) for node in nodes]}")
    audit, follows = WriteAudit(nodes, load, definitions), links(local)
    with capsys.disabled():
        print(f"\nkafka: {audit} {follows}")
    audit.check()
    assert (follows["transport"], follows["phase"]) == ("kafka", "reading"), follows
    assert (follows["origin_fallbacks"], follows["reseeds"]) == (0, 0), "the broker alone brought it"
    check_that_the_audit_detects_loss(nodes, load)


def links(local):
    told = leader(local.region("eu-west")).get("/api/v1/links").json()
    [link] = told["links"]
    [shard] = link["shards"]
    return {"transport": link["transport"], "origin_fallbacks": told["origin_fallbacks"], "reseeds": told["reseeds"], **shard}


def publisher(local):
    return leader(local.region("us-east")).get("/api/v1/links").json()["delta_log"]
