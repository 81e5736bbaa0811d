"""The test bed's Kubernetes and its regions: read by kubectl and HTTP, changed by kubectl only."""

import base64
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx

ROOT = Path(os.environ["ROOT"])
BED = Path(os.environ["BED"])
CLUSTER = "vector-search"
CONTAINERD = "/run/meridian-bed/containerd.sock"


class CommandFailed(Exception):
    """A failed command with its output."""


def run(*command, stdin=None, check=True, timeout=120):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def kubectl(*arguments, **options):
    return run("kubectl", *arguments, **options).stdout


def get(kind, name, namespace):
    return json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))


def apply(*objects):
    """Applies objects with kubectl."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return kubectl("apply", "-f", "-", stdin=json.dumps(items))


def patch(kind, name, namespace, change):
    return kubectl("-n", namespace, "patch", kind, name, "--type=merge", "-p", json.dumps(change))


def wait_until(check, within, what):
    """Polls `check` until its result is true, and returns it; fails with `what` after `within` seconds."""
    end = time.monotonic() + within
    while True:
        try:
            found, fault = check(), None
        except (CommandFailed, httpx.HTTPError, KeyError, IndexError) as error:
            found, fault = None, error
        if found:
            return found
        if time.monotonic() > end:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {within} s: {said}" + (f" ({fault})" if fault else ""))
        time.sleep(0.2)


def condition(resource, kind):
    """One condition, if it is of the current generation."""
    status = resource.get("status", {})
    if status.get("observedGeneration") != resource["metadata"]["generation"]:
        return {}
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


class Region:
    """One region: a namespace with the cluster `vector-search` in it."""

    def __init__(self, name, shards):
        self.name, self.shards = name, shards
        self._key = self._address = None

    def cluster(self):
        return get("vectorcluster", CLUSTER, self.name)

    def patch(self, **spec):
        patch("vectorcluster", CLUSTER, self.name, {"spec": spec})

    def waiting_for(self):
        """What the operator waits for, by its status."""
        resource = self.cluster()
        return json.dumps(resource.get("status", {}).get("operations", [])) + condition(resource, "Ready").get("message", "")

    def is_ready(self):
        return condition(self.cluster(), "Ready").get("status") == "True"

    def wait_ready(self, within):
        wait_until(self.is_ready, within, lambda: f"{self.name} is not Ready: {self.waiting_for()}")

    def key(self):
        if self._key is None:
            secret = get("secret", f"{CLUSTER}-api-key", self.name)
            self._key = base64.b64decode(secret["data"]["api-key"]).decode()
        return self._key

    def url(self):
        """The public Service."""
        if self._address is None:
            self._address = get("service", CLUSTER, self.name)["spec"]["clusterIP"]
        return f"http://{self._address}:8080"

    def forget_address(self):
        self._address = None

    def http(self, **options):
        return httpx.Client(base_url=self.url(), headers={"api-key": self.key()}, trust_env=False, **options)

    def is_serving(self):
        """Whether the public Service leads to a pod that is ready."""
        with self.http(timeout=2) as client:
            return client.get("/readyz").is_success

    def pods(self):
        """The replicas' pods by name."""
        items = json.loads(kubectl("-n", self.name, "get", "pods", "-l", f"meridiandb.io/cluster={CLUSTER}", "-o", "json"))
        return {pod["metadata"]["name"]: pod for pod in items["items"]}

    def get_json(self, pod, path):
        """JSON of a pod's API; empty when it does not answer."""
        address = pod.get("status", {}).get("podIP")
        if not address:
            return {}
        try:
            return httpx.get(f"http://{address}:8080{path}", headers={"api-key": self.key()}, timeout=2, trust_env=False).json()
        except (httpx.HTTPError, ValueError):
            return {}

    def leaders(self):
        """Leader pod by shard."""
        found = {}
        for name, pod in self.pods().items():
            said = self.get_json(pod, "/api/v1/cluster")
            if said.get("role") == "leader":
                found[said["shard"]] = name
        return found

    def leader(self, shard):
        return wait_until(lambda: self.leaders().get(shard), 60, f"shard {shard} of {self.name} has no leader")

    def digests(self):
        """The digest of the state of each replica that answers, by shard."""
        found = {}
        for pod in self.pods().values():
            said = self.get_json(pod, "/api/v1/consistency")
            if "digest" in said:
                found.setdefault(pod["metadata"]["labels"]["meridiandb.io/shard"], []).append(said["digest"])
        return found

    def kill_process(self, pod):
        """Sends SIGKILL to the process of the pod's container."""
        statuses = self.pods()[pod]["status"]["containerStatuses"]
        container = statuses[0]["containerID"].removeprefix("containerd://")
        tasks = run("ctr", "--address", CONTAINERD, "--namespace", "k8s.io", "tasks", "ls").stdout
        pid = next(int(line.split()[1]) for line in tasks.splitlines() if line.startswith(container))
        os.kill(pid, signal.SIGKILL)
        return statuses[0]["restartCount"]

    def kill_operator(self):
        """Deletes the operator's pod without a grace period."""
        kubectl("-n", self.name, "delete", "pod", "-l", "app.kubernetes.io/name=meridian-operator", "--force", "--grace-period=0", "--wait=false")


def audit_events(verbs=("create", "update", "patch", "delete")):
    """Audit events of the API server with these verbs; reads are recorded only for the operators."""
    with open(os.environ["MERIDIAN_BED_AUDIT_LOG"]) as log:
        for line in log:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line, half written
            if event.get("verb") in verbs:
                yield event
