"""Real brokers and a real MirrorMaker 2, by the scripts of tests/kafka."""

import json
import os
import random
import re
import socket
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "kafka"
TOPIC = "vector-deltas"
# What the operator renders for a link from us-east to eu-west; a test of `plan` keeps this file what it renders.
RENDERED = Path(__file__).parents[2] / "crates/plan/src/render/snapshots/meridian_plan__render__tests__mirror_maker_by_deployment.snap"
MIRROR_REST = 8083  # the rendered properties name this port, as the operator's pod has it to itself


def script(name, *arguments, **options):
    return subprocess.run([SCRIPTS / name, *map(str, arguments)], check=True, text=True, capture_output=True, **options)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def two_free_ports():
    while True:
        # Below the range from which outgoing connections get theirs.
        port = random.randrange(20_000, 30_000)
        if is_free(port) and is_free(port + 1):
            return port


class Broker:
    """One broker, alone in its cluster; what it stored outlives its process."""

    def __init__(self, folder, name):
        self.folder, self.name, self.port = folder, name, two_free_ports()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        script("broker", "start", self.folder, self.port, self.name)

    def kill(self):
        script("broker", "kill", self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        script("broker", "stop", self.folder)

    def topic(self, action, topic, *arguments, lines=None):
        text = "".join(f"{line}\n" for line in lines) if lines is not None else None
        return script("topic", action, self.address, topic, *arguments, input=text).stdout


class Mirror:
    """MirrorMaker 2 with the properties that the operator renders, the brokers' addresses apart."""

    def __init__(self, folder, **brokers):
        assert is_free(MIRROR_REST), f"port {MIRROR_REST} is taken"
        [text] = re.findall(r'^    mm2\.properties: (".*")$', RENDERED.read_text(), re.MULTILINE)
        text = json.loads(text)
        for region, address in brokers.items():
            key = f"{region.replace('_', '-')}.bootstrap.servers"
            text, found = re.subn(rf"(?m)^{re.escape(key)} = .*$", f"{key} = {address}", text)
            assert found == 1, f"{key} stands {found} times in {RENDERED}"
        self.properties = folder / "mm2.properties"
        self.properties.write_text(text)
        self.start()

    def start(self):
        script("mm2", "start", self.properties)

    def kill(self):
        script("mm2", "kill", self.properties)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        script("mm2", "stop", self.properties)


assert os.environ.get("BIN"), "run this by tests/kafka_link/run"
