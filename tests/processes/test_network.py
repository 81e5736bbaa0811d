"""Drops all packets for a while, without resets; the regions recover within 2 s of the network.

The nodes run in a network namespace in which nftables drops their packets; clients can reach them all the time.
NETWORK_LOSS_S=10,30,60,90 sets the durations in seconds (10).
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

from regions import Local, wait_until

OUTAGES_S = [float(text) for text in os.environ.get("NETWORK_LOSS_S", "10").split(",")]
RECOVERED_WITHIN_S = 2.0
COLLECTION = "/collections/lossy"
POINTS = f"{COLLECTION}/points"
CLONE_NEWNET = 0x40000000


class NetworkNamespace:
    """A network namespace of a dedicated thread: processes started by that thread are in it."""

    def __init__(self):
        self.worker = ThreadPoolExecutor(max_workers=1)
        reason = self.run(self._enter)
        if reason:
            self.worker.shutdown()
            pytest.skip(f"NOT RUN: {reason}")

    def run(self, work, *arguments):
        return self.worker.submit(work, *arguments).result()

    def _enter(self):
        if shutil.which("nft") is None or shutil.which("ip") is None:
            return "needs nft and ip (make setup installs nftables and iproute2)"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            return f"network namespaces are not permitted here: {os.strerror(ctypes.get_errno())}"
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["nft", "add", "table", "inet", "loss"],
            ["nft", "add", "chain", "inet", "loss", "arriving", "{ type filter hook input priority 0; policy accept; }"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                return f"{' '.join(command)}: {done.stderr.strip()}"
        return None

    def drop_packets(self, ports):
        """Silently drops every packet to or from these ports."""
        numbers = "{ " + ", ".join(map(str, sorted(ports))) + " }"
        for side in ("dport", "sport"):
            subprocess.run(["nft", "add", "rule", "inet", "loss", "arriving", f"tcp {side} {numbers} drop"], check=True)

    def heal(self):
        subprocess.run(["nft", "flush", "chain", "inet", "loss", "arriving"], check=True)
        return time.monotonic()


@pytest.fixture(scope="module")
def space():
    space = NetworkNamespace()
    yield space
    space.worker.shutdown()


@pytest.fixture(scope="module")
def local(space, module_folder):
    folder = module_folder("lossy")
    local = space.run(Local, folder, "us-east:1x3", "eu-west:1x3")
    yield local
    space.run(local.stop)


class Writers:
    """Writes to every node of a region continuously, and records the time of each acknowledgement."""

    def __init__(self, nodes, expected_status):
        self.nodes, self.expected_status = nodes, expected_status
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
                    if answer.status_code == 200 and answer.json()["result"]["status"] == self.expected_status:
                        self.acknowledged.append(time.monotonic())
                    else:
                        self.faults.append(answer.text)
                except httpx.HTTPError as fault:
                    self.faults.append(repr(fault))

    def first_after(self, moment):
        return next((at for at in self.acknowledged if at > moment), None)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def create_collection(local):
    node = local.nodes[0]
    made = node.put(COLLECTION, {"vectors": {"size": 4, "distance": "Dot"}})
    assert made.status_code in (200, 409), made.text
    wait_until(lambda: all(node.get(COLLECTION).status_code == 200 for node in local.nodes), 30, "both regions know the collection")


def endpoints(local):
    """Ports by which the regions reach each other, from the nodes' configurations."""
    ports = set()
    for line in (line.strip() for node in local.nodes for line in node.config.read_text().splitlines()):
        name, _, value = line.strip("- ").partition(": ")
        if name == "endpoint":
            ports.add(int(value.strip("'\"").rsplit(":", 1)[1]))
    assert len(ports) == 2, ports
    return ports


def recovery_time(space, local, region, ports, seconds):
    """Time from the end of the packet loss to the first write that is acknowledged and visible in `region`, in seconds."""
    create_collection(local)
    with Writers(local.region(region), "completed") as writers:
        start = time.monotonic()
        wait_until(lambda: writers.first_after(start), 20, lambda: f"writes pass before the loss: {writers.faults[-3:]}")
        space.drop_packets(ports)
        try:
            start = time.monotonic()
            # In-flight packets have arrived by now.
            time.sleep(max(seconds - 1, 1))
            silent_from = time.monotonic()
            time.sleep(1)
            assert writers.first_after(silent_from) is None, "writes pass through a network that loses all"
        finally:
            healed = space.heal()
        wait_until(lambda: writers.first_after(healed), 120, lambda: f"writes pass again: {writers.faults[-3:]}")
        elapsed = writers.first_after(healed) - healed
    print(f"\n  {region}: {healed - start:.0f} s of loss, whole again after {elapsed:.2f} s")
    return elapsed


@pytest.mark.parametrize("seconds", OUTAGES_S)
def test_a_group_recovers_within_two_seconds_of_its_network(space, local, seconds):
    ports = {int(node.peer.rsplit(":", 1)[1]) for node in local.region("us-east")}
    elapsed = space.run(recovery_time, space, local, "us-east", ports, seconds)
    assert elapsed <= RECOVERED_WITHIN_S


@pytest.mark.parametrize("seconds", OUTAGES_S)
def test_replication_recovers_within_two_seconds_of_the_network(space, local, seconds):
    """A write at eu-west is forwarded to us-east and replicated back, so both directions are needed."""
    elapsed = space.run(lambda: recovery_time(space, local, "eu-west", endpoints(local), seconds))
    assert elapsed <= RECOVERED_WITHIN_S
