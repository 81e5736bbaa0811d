"""Topics whose settings would lose deltas are refused by name; the node keeps running and publishes once they are corrected."""

import pytest

from kafka import TOPIC, Broker
from regions import Local, wait_until

COLLECTION = "/collections/kafka"
WITHIN_S = 60


@pytest.fixture(scope="module")
def broker(module_folder):
    with Broker(module_folder("broker"), "us-east") as broker:
        yield broker


@pytest.mark.parametrize("setting", ["cleanup.policy=compact", "max.message.bytes=1048588"])
def test_a_topic_that_would_lose_deltas_is_refused_and_the_node_keeps_running(broker, tmp_path, setting):
    broker.topic("create", TOPIC, 1, setting)
    with Local(tmp_path, "us-east:1x1", "eu-west:1x1", brokers={"us-east": broker.address}) as local:
        east = local.region("us-east")[0]
        log = lambda: east.get("/api/v1/links").json()["delta_log"]  # noqa: E731
        wait_until(lambda: setting in str(log()["fault"]), WITHIN_S, log)
        assert east.put(COLLECTION, {"vectors": {"size": 2, "distance": "Dot"}}).status_code == 200
        assert east.is_ready()
        broker.topic("delete", TOPIC)
        wait_until(lambda: log()["fault"] is None and log()["published_seq"] == 1, WITHIN_S, log)
    broker.topic("delete", TOPIC)
    wait_until(lambda: TOPIC not in broker.topic("list", TOPIC).split(), WITHIN_S, "the topic is gone")
