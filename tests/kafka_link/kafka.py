"""Real brokers and a real MirrorMaker 2, started by the scripts of tests/kafka."""

import os
import random
import signal
import socket
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "kafka"
TOPIC = "vector-deltas"


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
        # Below the ephemeral range.
        port = random.randrange(20_000, 30_000)
        if is_free(port) and is_free(port + 1):
            return port


class Broker:
    """A single-broker cluster; its data survives its process."""

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
    """MirrorMaker 2 with the properties that the operator renders; restarted after a failed task, as its pod would be."""

    def __init__(self, folder, source, target):
        self.properties = folder / "mm2.properties"
        script("mm2", "render", self.properties, f"{os.environ['BIN']}/meridian", source.address, target.address, two_free_ports())
        self.start()

    def start(self):
        script("mm2", "start", self.properties)
        self.watch = subprocess.Popen([SCRIPTS / "mm2", "watch", self.properties], start_new_session=True)

    def kill(self):
        self.stop_watching()
        script("mm2", "kill", self.properties)

    def stop_watching(self):
        """Stops the restarts."""
        os.killpg(self.watch.pid, signal.SIGTERM)
        self.watch.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_watching()
        script("mm2", "stop", self.properties)


assert os.environ.get("BIN"), "run this by tests/kafka_link/run"
