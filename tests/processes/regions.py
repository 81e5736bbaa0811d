"""Regions of real processes on this machine: started by `meridian local`, reached over HTTP, stopped for certain."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

BIN = Path(os.environ["BIN"])
KEY = "a-key-for-tests-on-loopback"
START_S = 120  # a loaded machine; usually it takes two seconds
STOP_S = 30


def until(check, within, what):
    """Asks until `check` gives something true, and gives that; fails with `what` when `within` seconds are over."""
    end = time.monotonic() + within
    while True:
        if found := check():
            return found
        assert time.monotonic() < end, f"not within {within} s: {what() if callable(what) else what}"
        time.sleep(0.02)


@dataclass
class Node:
    """One node: where it listens, and its process as far as it is known."""

    region: str
    name: str
    api: str
    admin: str
    peer: str
    config: Path
    pid: int | None
    http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self):
        self.http = client(self.api)

    def get(self, path, **options):
        return self.http.get(path, **options)

    def put(self, path, body, **options):
        return self.http.put(path, json=body, **options)

    def post(self, path, body, **options):
        return self.http.post(path, json=body, **options)

    def cluster(self):
        """What the node says of itself; nothing while it does not answer."""
        return self._tell("/api/v1/cluster")

    def consistency(self):
        """Positions and counters; nothing while the node does not answer."""
        return self._tell("/api/v1/consistency")

    def _tell(self, path):
        try:
            return self.get(path, timeout=1).json()
        except httpx.HTTPError:
            return {}

    def is_ready(self):
        try:
            return httpx.get(f"{self.admin}/readyz", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def leads(self):
        return self.cluster().get("role") == "leader"

    def signal(self, number):
        """Signals the process, if it is the node's still. Ids are used again by the system: the command line is looked at."""
        pid = self.pid
        if pid is not None and str(self.config) in command_line(pid):
            os.kill(pid, number)
            return pid
        return None


def client(url, key=KEY):
    return httpx.Client(base_url=url, headers={"api-key": key}, timeout=20, trust_env=False)


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


class Local:
    """What one `meridian local` runs. Its end, and the end of this process, is the end of all nodes: it watches its stdin."""

    def __init__(self, folder, *regions, restart=True, brokers=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        command = [BIN / "meridian", "local", "--dir", folder, "--api-key", KEY]
        for region in regions:
            command += ["--region", region]
        for region, address in (brokers or {}).items():
            command += ["--kafka", f"{region}={address}"]
        if not restart:
            command += ["--no-restart"]
        self.log = (folder / "local.log").open("a")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True
        )
        self.nodes = []
        try:
            self._learn(self._first_line())
        except BaseException:
            self.stop()
            raise

    def _first_line(self):
        lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self.reader.start()
        try:
            line = lines.get(timeout=START_S)
        except queue.Empty:
            line = ""
        assert line, f"the regions did not start: {(self.folder / 'local.log').read_text()}"
        return json.loads(line)

    def _read(self, lines):
        first = True
        for line in self.process.stdout:
            if first:
                lines.put(line)
                first = False
            elif restarted := json.loads(line).get("restarted"):
                self._restarted(restarted)
        lines.put("")

    def _learn(self, told):
        for region in told["regions"]:
            for node in region["nodes"]:
                about = {name: node[name] for name in ("name", "api", "admin", "peer", "pid")}
                self.nodes.append(Node(region=region["name"], config=Path(node["config"]), **about))

    def _restarted(self, told):
        name = f"{told['region']}-s{told['shard']}-r{told['replica']}"
        next(node for node in self.nodes if node.name == name).pid = told["pid"]

    def region(self, name):
        return [node for node in self.nodes if node.region == name]

    def stop(self):
        """Stops every node in order; what does not stop is killed by its process id."""
        for node in self.nodes:
            node.signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for node in self.nodes:
                node.signal(signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        for node in self.nodes:
            node.http.close()
        self.log.close()
        assert self.process.returncode == 0, (self.folder / "local.log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def leader(nodes, within=20):
    """The node that leads, once one does."""
    return until(lambda: next((node for node in nodes if node.leads()), None), within, "a leader")
