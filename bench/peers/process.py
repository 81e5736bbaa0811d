"""Controls one engine in its own process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from peers import OURS


class Failed(Exception):
    """Why an engine cannot be measured: the end of its output."""


class Process:
    """Builds at once, on one core; `round` measures the engine."""

    def __init__(self, name, folder, meridian, core):
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command(name, folder, meridian),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def round(self):
        """Every point of the sweep, measured once."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` says why
        return self.answer()

    def answer(self):
        """The lines before the next empty one."""
        points = []
        for line in self.process.stdout:
            if line == "\n":
                return points
            points.append(json.loads(line))
        raise Failed(self.why())

    def why(self):
        code = self.process.wait()
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        said = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), f"ended with code {code}")

    def end(self):
        """Kills the process; it holds no data that must be kept."""
        self.process.kill()
        self.process.communicate()


def command(name, folder, meridian):
    if name not in OURS:
        return [sys.executable, Path(__file__).parent / "worker.py", name, folder]
    files = [("base", "base.npy"), ("queries", "queries.npy"), ("truth", "truth.ibin")]
    return [
        *(meridian, "bench", "ann", "--json", "--rounds", "--batch", "1000", *OURS[name]),
        *(word for option, file in files for word in (f"--{option}", folder / file)),
    ]
