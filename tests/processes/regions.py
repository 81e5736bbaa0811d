"""Regions of real processes on this machine: started by `meridian local`, accessed over HTTP, always stopped."""

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


def wait_until(check, within, what):
    """Polls `check` until its result is true, and returns it; fails with `what` after `within` seconds."""
    end = time.monotonic() + within
    while True:
        if found := check():
            return found
        assert time.monotonic() < end, f"not within {within} s: {what() if callable(what) else what}"
        time.sleep(0.02)


@dataclass
class Node:
    """One node: its addresses and its current process id, if known."""

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
        """Status of the node; empty while it does not answer."""
        return self._get_json("/api/v1/cluster")

    def consistency(self):
        """Positions and counters of the node; empty while it does not answer."""
        return self._get_json("/api/v1/consistency")

    def _get_json(self, path):
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
        """Signals the process, if it is still the node's: the system reuses process ids, so the command line is compared."""
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
    """The nodes of one `meridian local`. It watches its stdin, so that all nodes end with this process."""

    def __init__(self, folder, *regions, restart=True, brokers=None, program=BIN / "meridian", environment=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        command = [program, "local", "--dir", folder, "--api-key", KEY]
        for region in regions:
            command += ["--region", region]
        for region, address in (brokers or {}).items():
            command += ["--kafka", f"{region}={address}"]
        if not restart:
            command += ["--no-restart"]
        self.log = (folder / "local.log").open("a")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True,
            env=os.environ | (environment or {}),
        )
        self.nodes = []
        try:
            self._register_nodes(self._first_line())
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
                self._update_pid(restarted)
        lines.put("")

    def _register_nodes(self, report):
        for region in report["regions"]:
            for node in region["nodes"]:
                attributes = {name: node[name] for name in ("name", "api", "admin", "peer", "pid")}
                self.nodes.append(Node(region=region["name"], config=Path(node["config"]), **attributes))

    def _update_pid(self, report):
        name = f"{report['region']}-s{report['shard']}-r{report['replica']}"
        next(node for node in self.nodes if node.name == name).pid = report["pid"]

    def region(self, name):
        return [node for node in self.nodes if node.region == name]

    def stop(self):
        """Stops all nodes gracefully; a node that does not stop is killed by its process id."""
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
    """Waits for a leader and returns its node."""
    return wait_until(lambda: next((node for node in nodes if node.leads()), None), within, "a leader")
