"""Filtered searches, compared with qdrant-edge on the same vectors, queries and core. bench/peers/run prepares the data.

Queries match all vectors, or shares of them: spread evenly, or the furthest in one direction. The fastest setting that reaches
the recall is chosen on half of the queries and measured on the other half.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from data import KNOWN, prepare, true_neighbours
from peer import EFS, NEIGHBOURS
from run import ROOT, about, machine
from stores import QdrantEdge
from tqdm import tqdm
from worker import measure

RECALL = 0.95
SHARES = (0.5, 0.1, 0.01, 0.001)
RULES = {"random": "spread evenly", "direction": "in one direction"}

ABOUT = """Written by `make bench-filters` on {date}: {cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}.

One thread, {neighbours} neighbors, recall of at least {recall}. Each cell shows queries per second, their ratio to unfiltered
queries, and the recall. The fastest setting is chosen on one half of the queries and measured on the other half.

These are speeds of the engine, not of the HTTP API. All queries of a cell go to one call of `Index::search_batch` with one
filter; in the columns "one by one" each query is a call, and the filter is kept. Both compute the matching points once for many
queries. A shard creates a new filter for each query of the API and evaluates it on payloads, so that filtered searches of the
API are slower."""


class FilteredQdrantEdge(QdrantEdge):
    """Each point has one number per rule, indexed as the documentation recommends; a filter is a range of that number."""

    # The default: few matching points are compared without the graph.
    full_scan = 10_000

    def __init__(self, base, folder, orders):
        self.orders = orders
        super().__init__(base, folder)

    def created(self):
        numbers = self.qdrant.IntegerIndexParams(lookup=False, range=True)
        for rule in self.orders:
            self.shard.update(self.qdrant.UpdateOperation.create_field_index(rule, numbers))

    def payload(self, at):
        return {rule: int(order[at]) for rule, order in self.orders.items()}

    def only(self, rule, below):
        condition = self.qdrant.FieldCondition(rule, range=self.qdrant.RangeFloat(lt=below))
        return self.qdrant.Filter(must=[condition])


def main():
    args = arguments()
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    sets = []
    for name in args.data:
        file = Path(KNOWN.get(name, name))
        with tempfile.TemporaryDirectory(prefix="meridian-filters-") as folder:
            rows, dim = prepare(file, args.n, Path(folder))
            if rows * min(SHARES) <= NEIGHBOURS:
                sys.exit(f"{rows:,} vectors: {min(SHARES):.1%} of them must be more than {NEIGHBOURS}")
            base, queries = np.load(Path(folder) / "base.npy"), np.load(Path(folder) / "queries.npy")
            found = {"ours": ours(args.meridian, Path(folder)), "theirs": theirs(base, queries, folder)}
        sets.append({"name": file.stem, "n": rows, "dim": dim} | found)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "filters.md").write_text(page(sets))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["minilm", "words"], help=f"{', '.join(KNOWN)} or a .npy file")
    parser.add_argument("--n", type=int, help="read so many vectors; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks")
    parser.add_argument("--meridian", type=Path, required=True, help="our binary")
    return parser.parse_args()


def ours(meridian, folder):
    """By rule and share: recall and queries per second."""
    index = folder / "index"
    files = [word for name in ("base", "queries") for word in (f"--{name}", folder / f"{name}.npy")]
    ask = [meridian, "bench", "ann", *files, "--truth", folder / "truth.ibin", "--recall", str(RECALL), "--json"]
    found, alone = {}, {}

    def run(*more):
        lines = subprocess.run([*ask, *more], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        return [point for point in map(json.loads, lines) if "target‰" not in point["params"]]

    built = run("--save", index)
    for share in (bar := tqdm([None, *SHARES], desc="ours")):
        bar.set_postfix_str(str(share))
        for batch, points in (("1000", found), ("1", alone)):
            for point in run("--batch", batch, "--open", index, *(["--filter", str(share)] if share else [])):
                rule = point["filter"]["rule"] if share else None
                points[rule, share] = (point["recall"], point["qps"])
    kind, profile = built[0]["index"], built[0]["profile"]
    return {"about": f"`{kind}`, profile `{profile}`" if kind == "hnsw" else f"`{kind}`", "found": found, "alone": alone}


def theirs(base, queries, folder):
    peer = FilteredQdrantEdge(base, folder, {rule: order(base, rule) for rule in RULES})
    found = {}
    cases = [(None, None), *((rule, share) for share in SHARES for rule in RULES)]
    for rule, share in (bar := tqdm(cases, desc="qdrant-edge")):
        bar.set_postfix_str(f"{rule} {share}")
        below = round(len(base) * share) if share else len(base)
        inside = np.flatnonzero(peer.orders[rule] < below) if share else np.arange(len(base))
        truth = [set(row) for row in inside[true_neighbours(base[inside], queries)].tolist()]
        only = peer.only(rule, below) if share else None
        found[rule, share] = best(peer, queries, truth, only)
    return {"about": about("qdrant-edge"), "found": found}


def order(base, rule):
    """Ranks of the points in the order of `meridian bench ann --filter`: crates/cli/src/bench/ann/case.rs."""
    at = np.arange(len(base), dtype=np.uint32)
    keys = at * np.uint32(0x9E3779B1) if rule == "random" else -(base @ base[len(base) // 3])
    places = np.empty(len(base), int)
    places[np.argsort(keys, kind="stable")] = at
    return places


def best(peer, queries, truth, only):
    """Recall and queries per second of the fastest setting that reaches the recall, else of the last one."""
    half, reached = len(queries) // 2, []
    for more in (1.0, 3.0):
        # Speed falls with effort, so the first setting that reaches the recall is the fastest.
        for ef in EFS:
            point = {"ef": ef, "oversampling": more, "only": only}
            measured = measure(peer, queries[:half], truth[:half], point)
            if measured["recall"] >= RECALL:
                reached.append(measured)
                break
    if reached:
        point = max(reached, key=lambda one: one["qps"])["params"]
    measured = measure(peer, queries[half:], truth[half:], point)
    return measured["recall"], measured["qps"]


def page(sets):
    lines = ["# Filters", "", ABOUT.format(**machine(), neighbours=NEIGHBOURS, recall=RECALL)]
    for one in sets:
        lines += ["", f"## {one['name']}: {one['n']:,} vectors of {one['dim']}", ""]
        lines += [f"Meridian: {one['ours']['about']}. Peer: {one['theirs']['about']}.", ""]
        lines += ["| filter | Meridian | | recall | qdrant-edge | | recall | Meridian / qdrant-edge | Meridian, one by one | | recall |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for case in one["ours"]["found"]:
            rule, share = case
            name = f"{share * 100:g} %, {RULES[rule]}" if share else "none"
            ours, theirs = one["ours"], one["theirs"]["found"]
            ratio = f"{ours['found'][case][1] / theirs[case][1]:.1f}x"
            cells = [*told(ours["found"], case), *told(theirs, case), ratio, *told(ours["alone"], case)]
            lines += [f"| {name} | {' | '.join(cells)} |"]
    return "\n".join(lines) + "\n"


def told(found, case):
    (hits, qps), (_, free) = found[case], found[None, None]
    return f"{qps:,.0f}", f"{qps / free:.2f}x", f"{hits:.3f}"


if __name__ == "__main__":
    main()
