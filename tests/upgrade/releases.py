"""Regions whose nodes run different releases, and rolls of one node at a time from one release to another."""

import os
import signal
import subprocess
from pathlib import Path

from regions import BIN, Local, command_line, leader, wait_until

OLD = Path(os.environ["OLD"])  # folder of the binaries of the previous release
WITHIN_S = 60
TRANSFER_S = 0.5  # the state that nodes report is up to 100 ms old; an election by timeout takes at least 800 ms

# Starts the command that `choose` set for the node. `meridian local` passes `--config <node>.yaml` first.
LAUNCHER = '#!/bin/sh\nexec "${0%/*}/$(basename "$2" .yaml)" "$@"\n'
# A build that supports the artificial next behavior version.
NEXT = '#!/bin/sh\nMERIDIAN_TEST_NEXT_VERSION=1 exec "$BIN/meridian-node" "$@"\n'


class Releases:
    """A `meridian local` that starts each node with the release chosen for it."""

    def __init__(self, folder, release, *regions, manager="new"):
        self.launch = folder / "launch"
        self.launch.mkdir(parents=True)
        write_script(self.launch / "meridian-node", LAUNCHER)
        write_script(self.launch / "next", NEXT)
        self.commands = {"old": OLD / "meridian-node", "new": BIN / "meridian-node", "next": self.launch / "next"}
        for region in regions:
            name, replicas = region.split(":1x")
            for replica in range(1, int(replicas) + 1):
                self.choose(f"{name}-s1-r{replica}", release)
        program = {"old": OLD, "new": BIN}[manager] / "meridian"
        environment = {"MERIDIAN_NODE": str(self.launch / "meridian-node")}
        self.local = Local(folder / "regions", *regions, program=program, environment=environment)
        self.folder = folder / "regions"
        self.nodes = self.local.nodes
        self.replicas = {node.name: node.cluster()["replica"] for node in self.nodes}
        for node in self.nodes:
            self.check_release(node, release)

    def choose(self, name, release):
        """Sets the release with which the node starts next."""
        draft = self.launch / "draft"
        draft.symlink_to(self.commands[release])
        draft.replace(self.launch / name)

    def check_release(self, node, release):
        runs = os.readlink(f"/proc/{node.pid}/exe")
        expected = OLD if release == "old" else BIN
        assert runs == str((expected / "meridian-node").resolve()), f"{node.name} runs {runs}, not {release}"

    def region(self, name):
        return self.local.region(name)

    def restart(self, node, release, number=signal.SIGTERM):
        """Restarts one node with another release and waits until it has caught up. The node must open its existing volume."""
        peers = self.region(node.region)
        wait_until(lambda: all(peer.is_ready() for peer in peers), WITHIN_S, "all pods of the region are ready")
        leads = leader(peers)
        before = leads.cluster()
        self.choose(node.name, release)
        pid = node.signal(number)
        if number == signal.SIGTERM and node is leads:
            wait_until(lambda: str(node.config) not in command_line(pid), WITHIN_S, f"{node.name} stops")
            others = [peer for peer in peers if peer is not node]
            wait_until(lambda: any(peer.leads() for peer in others), TRANSFER_S, f"{node.name} had transferred leadership")
        wait_until(lambda: node.pid not in (None, pid), WITHIN_S, f"{node.name} is started again")
        wait_until(node.is_ready, WITHIN_S, lambda: f"{node.name} is ready with {release}: {node.cluster()}")
        caught_up = lambda: node.cluster().get("applied_index", 0) >= before["commit_index"]  # noqa: E731
        wait_until(caught_up, WITHIN_S, f"{node.name} has caught up")
        self.check_release(node, release)
        # A volume that the release cannot open would be set aside, and the node would join under a new id.
        assert node.cluster()["replica"] == self.replicas[node.name], f"{node.name} lost its volume"
        if number == signal.SIGTERM:
            # A stopping leader transfers the leadership by one election, without an election timeout; nothing else interrupts writes.
            elections = leader(peers).cluster()["term"] - before["term"]
            assert elections == (node is leads), f"{elections} elections by the restart of {node.name}; {leads.name} led"

    def roll(self, region, release, load, kill):
        """Restarts the nodes of a region one after the other, followers first. The load must progress after each restart.

        With `kill` "follower" the second node is killed: `release` then replays a log that the other release left without a
        snapshot. With "leader" the leader is killed while the group runs two releases, and restarts with its release.
        """
        waiting = list(self.region(region))
        while waiting:
            leads = leader(self.region(region))
            node = next((node for node in waiting if node is not leads), leads)
            waiting.remove(node)
            is_second = len(waiting) == 1
            before = load.progress()
            self.restart(node, release, signal.SIGKILL if is_second and kill == "follower" else signal.SIGTERM)
            wait_until(lambda: load.has_advanced(before), WITHIN_S, f"the load progresses after {node.name}")  # noqa: B023
            if is_second and kill == "leader":
                self.kill_leader(region, load)
            assert not load.faults(), "\n".join(load.faults())

    def kill_leader(self, region, load):
        before, leads = load.progress(), leader(self.region(region))
        pid = leads.signal(signal.SIGKILL)
        wait_until(lambda: load.has_advanced(before), WITHIN_S, f"the load progresses without {leads.name}")
        wait_until(lambda: leads.pid not in (None, pid) and leads.is_ready(), WITHIN_S, f"{leads.name} is ready again")

    def call(self, region, *call):
        """Sends a call of the operator to the leader of a region. Returns the reason of a refusal, or an empty string."""
        command = [BIN / "meridian", "local-call", "--dir", self.folder, "--region", region, *map(str, call)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S)
        assert (done.returncode == 0) == (not done.stderr), f"{done.returncode}: {done.stderr}"
        return done.stderr

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.local.stop()


def write_script(path, text):
    path.write_text(text)
    path.chmod(0o755)
