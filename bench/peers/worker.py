"""One peer in its own process, started by process.py.

    worker.py PEER FOLDER

Builds the index, then measures the whole sweep once per line of input, with a line of JSON per point. An empty line
ends the build and each round, as with `meridian bench ann --rounds`.
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from data import read_neighbours
from peer import NEIGHBOURS
from peers import PEERS

# All queries repeat until this time is over: MIN_TIMED of crates/cli/src/bench/ann/measure.rs.
TIMED_SECONDS = 0.25


def resident():
    """Resident bytes of this process, after freed memory was returned to the system."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(peer, queries, truth, point):
    ask = peer.ask(queries, **point)
    found = peer.ids(ask())
    hits = sum(len(set(ids) & true) for ids, true in zip(found, truth, strict=True))
    begun, asked = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < TIMED_SECONDS:
        ask()
        asked += len(queries)
    return {"params": point, "recall": hits / (len(queries) * NEIGHBOURS), "qps": asked / elapsed}


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    # Some libraries print to standard output; answers use a copy of it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    base, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    truth = [set(row) for row in read_neighbours(folder / "truth.ibin").tolist()]
    own = folder / name
    own.mkdir()
    before, begun = resident(), time.perf_counter()
    peer = PEERS[name](base, str(own))
    built = {"index": name, "n": len(base), "build_s": time.perf_counter() - begun, "rss_bytes": resident() - before}
    answers.write("\n")
    for _ in sys.stdin:
        for point in peer.sweep:
            answers.write(json.dumps(built | measure(peer, queries, truth, point)) + "\n")
        answers.write("\n")


if __name__ == "__main__":
    main()
