"""The network loses every packet for a while, without a reset, and the regions are whole 2 s after it is.

The nodes run in a network namespace of their own, where nftables drops what they say to each other; clients reach them all
the time. NETWORK_LOSS_S=10,30,60,90 says for how long (10).
"""

import ctypes
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from regions import Local, until

LOSSES = [float(text) for text in os.environ.get("NETWORK_LOSS_S", "10").split(",")]
WHOLE_WITHIN_S = 2.0
COLLECTION = "/collections/lossy"
POINTS = f"{COLLECTION}/points"
CLONE_NEWNET = 0x40000000


class Space:
    """A network namespace that lives as long as its thread: whatever is started there is in it."""

    def __init__(self):
        self.worker = ThreadPoolExecutor(max_workers=1)
        why = self.run(self._enter)
        if why:
            self.worker.shutdown()
            pytest.skip(f"NOT RUN: {why}")

    def run(self, work, *arguments):
        return self.worker.submit(work, *arguments).result()

    def _enter(self):
        if shutil.which("nft") is None or shutil.which("ip") is None:
            return "needs nft and ip (make setup installs nftables and iproute2)"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            return f"this machine lets nobody make a network namespace: {os.strerror(ctypes.get_errno())}"
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["nft", "add", "table", "inet", "loss"],
            ["nft", "add", "chain", "inet", "loss", "arriving", "{ type filter hook input priority 0; policy accept; }"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                return f"{' '.join(command)}: {done.stderr.strip()}"
        return None

    def lose(self, ports):
        """Drops every packet to or from these ports when it arrives, as a network does: nobody is told."""
        numbers = "{ " + ", ".join(map(str, sorted(ports))) + " }"
        for side in ("dport", "sport"):
            subprocess.run(["nft", "add", "rule", "inet", "loss", "arriving", f"tcp {side} {numbers} drop"], check=True)

    def heal(self):
        subprocess.run(["nft", "flush", "chain", "inet", "loss", "arriving"], check=True)
        return time.monotonic()


@pytest.fixture(scope="module")
def space():
    space = Space()
    yield space
    space.worker.shutdown()


@pytest.fixture(scope="module")
def local(space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lossy")
    local = space.run(Local, folder, "us-east:1x3", "eu-west:1x3")
    yield local
    space.run(local.stop)


class Writers:
    """Writes to every node of a region all the time; when each acknowledgement came."""

    def __init__(self, nodes, wanted):
        self.nodes, self.wanted = nodes, wanted
        self.acknowledged, self.faults, self.stopping = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(node, delay)) for node in nodes for delay in (0, 0.3, 0.6)]

    def _write(self, node, delay):
        number = 0
        with httpx.Client(base_url=node.api, headers=node.http.headers, timeout=1, trust_env=False) as client:
            self.stopping.wait(delay)
            while not self.stopping.wait(0.05):
                number += 1
                body = {"points": [{"id": 1, "vector": [1, 2, 3, number]}]}
                try:
                    answer = client.put(f"{POINTS}?wait=true&timeout=1", json=body)
                    if answer.status_code == 200 and answer.json()["result"]["status"] == self.wanted:
                        self.acknowledged.append(time.monotonic())
                    else:
                        self.faults.append(answer.text)
                except httpx.HTTPError as fault:
                    self.faults.append(repr(fault))

    def since(self, moment):
        return next((at for at in self.acknowledged if at > moment), None)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def ready(local):
    node = local.nodes[0]
    made = node.put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}})
    assert made.status_code in (200, 409), made.text
    until(lambda: all(node.get(COLLECTION).status_code == 200 for node in local.nodes), 30, "both regions know the collection")


def endpoints(local):
    """Where each region is reached by the other, as the nodes' configurations say."""
    ports = set()
    for line in (line.strip() for node in local.nodes for line in node.config.read_text().splitlines()):
        name, _, value = line.strip("- ").partition(": ")
        if name == "endpoint":
            ports.add(int(value.strip("'\"").rsplit(":", 1)[1]))
    assert len(ports) == 2, ports
    return ports


def lost_and_healed(space, local, region, ports, seconds):
    """How long after the healing the first write is acknowledged and visible in `region`."""
    ready(local)
    with Writers(local.region(region), "completed") as writers:
        begun = time.monotonic()
        until(lambda: writers.since(begun), 20, lambda: f"writes pass before the loss: {writers.faults[-3:]}")
        space.lose(ports)
        try:
            begun = time.monotonic()
            # What was on its way has arrived, or never will: the loss is real.
            time.sleep(max(seconds - 1, 1))
            silent_from = time.monotonic()
            time.sleep(1)
            assert writers.since(silent_from) is None, "writes pass through a network that loses all"
        finally:
            healed = space.heal()
        until(lambda: writers.since(healed), 120, lambda: f"writes pass again: {writers.faults[-3:]}")
        took = writers.since(healed) - healed
    print(f"\n  {region}: {healed - begun:.0f} s of loss, whole again after {took:.2f} s")
    return took


@pytest.mark.parametrize("seconds", LOSSES)
def test_a_group_is_whole_two_seconds_after_its_network_is(space, local, seconds):
    ports = {int(node.peer.rsplit(":", 1)[1]) for node in local.region("us-east")}
    took = space.run(lost_and_healed, space, local, "us-east", ports, seconds)
    assert took <= WHOLE_WITHIN_S


@pytest.mark.parametrize("seconds", LOSSES)
def test_a_region_follows_two_seconds_after_its_network_is_whole(space, local, seconds):
    """A write at eu-west goes to us-east and comes back: both ways between the regions are needed."""
    took = space.run(lambda: lost_and_healed(space, local, "eu-west", endpoints(local), seconds))
    assert took <= WHOLE_WITHIN_S
