"""Under load through the broker of us-east, and through the copy that MirrorMaker 2 makes: the broker, each region's leader and the
mirror are killed, nothing is lost or doubled."""

from kafka import Broker, Mirror
from load import COLLECTION, Load
from regions import Local, leader, until
from test_chaos import ACKNOWLEDGED, ROUND_S, Books, advanced, applied, is_quiet, strike, the_net_holds, told, told_to

WITHIN_S = 120  # a mirror that was killed is waited for by its group
SEED = "kafka"


def test_nothing_is_lost_and_nothing_doubled_through_a_broker(tmp_path, capsys):
    with Broker(tmp_path / "broker", "us-east") as broker:
        with Local(tmp_path / "regions", "us-east:1x3", "eu-west:1x3", brokers={"us-east": broker.address}) as local:
            survive(local, broker, capsys)


def test_nothing_is_lost_and_nothing_doubled_through_a_mirror(tmp_path, capsys):
    with Broker(tmp_path / "here", "us-east") as here, Broker(tmp_path / "there", "eu-west") as there:
        by = {"us-east": here.address, "eu-west": there.address}
        with Local(tmp_path / "regions", "us-east:1x3", "eu-west:1x3", brokers=by) as local:
            with Mirror(tmp_path, here, there) as mirror:
                survive(local, here, capsys, mirror)


def survive(local, broker, capsys, mirror=None):
    nodes = local.nodes
    made = nodes[0].put(COLLECTION, {"vectors": {"size": 4, "distance": "Euclid"}})
    assert made.status_code == 200, made.text
    knows = lambda: all(node.get(COLLECTION).status_code == 200 for node in nodes)  # noqa: E731
    until(knows, WITHIN_S, lambda: f"both regions know the collection: {links(local)}")
    definitions = applied(nodes[0])
    with Load(nodes, SEED) as load:
        until(lambda: advanced(load, [0] * len(load.clients), ACKNOWLEDGED), ROUND_S, "the load begins")

        def goes_on(what):
            """The load goes on, and what it wrote arrives."""
            assert not load.faults(), "\n".join(load.faults())
            before = load.progress()
            until(lambda: advanced(load, before), ROUND_S, f"the load goes on: {what}")
            newest = max(applied(node) for node in local.region("us-east"))
            arrived = lambda: all(applied(node) >= newest for node in local.region("eu-west"))  # noqa: E731
            until(arrived, WITHIN_S, lambda: f"deltas arrive: {what}: {links(local)}")

        goes_on("before any blow")
        broker.kill()
        until(lambda: publisher(local)["fault"], ROUND_S, "the publisher misses its broker")
        broker.start()
        goes_on("the broker was killed")
        for region in ("us-east", "eu-west"):
            strike("kill", leader(local.region(region)), load)
            goes_on(f"the leader of {region} was killed")
        if mirror:
            mirror.kill()
            mirror.start()
            goes_on("the mirror was killed")
    assert not load.faults(), "\n".join(load.faults())
    least = definitions + told_to(load)
    until(lambda: is_quiet(nodes, least), WITHIN_S, lambda: f"equal digests: {[told(node) for node in nodes]}")
    books, follows = Books(nodes, load, definitions), links(local)
    with capsys.disabled():
        print(f"\nkafka: {books} {follows}")
    books.balance()
    assert (follows["transport"], follows["phase"]) == ("kafka", "reading"), follows
    assert (follows["origin_fallbacks"], follows["reseeds"]) == (0, 0), "the broker alone brought it"
    the_net_holds(nodes, load)


def links(local):
    told = leader(local.region("eu-west")).get("/api/v1/links").json()
    [link] = told["links"]
    [shard] = link["shards"]
    return {"transport": link["transport"], "origin_fallbacks": told["origin_fallbacks"], "reseeds": told["reseeds"], **shard}


def publisher(local):
    return leader(local.region("us-east")).get("/api/v1/links").json()["delta_log"]
