"""Compares engines on the same vectors, queries and core, in one run. bench/peers/run prepares the data."""

import argparse
import datetime
import json
import os
import platform
import re
import tempfile
from importlib import metadata
from pathlib import Path

from data import KNOWN, QUERIES, prepare
from peer import NEIGHBOURS
from peers import OURS, PEERS
from plot import plot
from process import Failed, Process
from report import page
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]


def main():
    args = arguments()
    results = {"machine": machine(), "neighbours": NEIGHBOURS, "sets": before(args.out)}
    for name in args.data:
        file = Path(KNOWN.get(name, name))
        with tempfile.TemporaryDirectory(prefix="meridian-peers-") as folder:
            rows, dim = prepare(file, args.n, Path(folder))
            engines = bench(args, Path(folder))
        about = {"name": file.stem, "n": rows, "dim": dim, "queries": QUERIES, "rounds": args.rounds}
        results["sets"] = [one for one in results["sets"] if one["name"] != file.stem] + [about | {"engines": engines}]
        write(results, args.out)


def before(folder):
    """Data sets that were measured on this machine today; they are kept unless measured again."""
    file = folder / "results.json"
    found = json.loads(file.read_text()) if file.exists() else {"machine": None, "sets": []}
    return found["sets"] if found["machine"] == machine() else []


def write(results, folder):
    """All data sets measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    # A line for each point.
    (folder / "results.json").write_text(json.dumps(results).replace('{"params"', '\n{"params"') + "\n")
    (folder / "README.md").write_text(page(results))
    for one in results["sets"]:
        plot(one, results["machine"], folder / f"{one['name']}.svg")


def arguments():
    names = lambda text: text.split(",")  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(KNOWN), help=f"{', '.join(KNOWN)} or a .npy file of rows")
    parser.add_argument("--peers", type=names, default=[*PEERS, *OURS], help="which, with commas between; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, help="read so many vectors; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks")
    parser.add_argument("--meridian", type=Path, required=True, help="our binary")
    args = parser.parse_args()
    if unknown := set(args.peers) - {*PEERS, *OURS}:
        parser.error(f"--peers {', '.join(sorted(unknown))}: there are {', '.join([*PEERS, *OURS])}")
    if not os.access(args.meridian, os.X_OK):
        parser.error(f"--meridian {args.meridian}: there is no such program")
    return args


def bench(args, folder):
    """Builds all engines one after the other; then every round measures each of them once."""
    core = max(os.sched_getaffinity(0))
    engines, processes = {name: {"name": name, "about": about(name), "points": {}} for name in args.peers}, {}

    def step(name, work):
        try:
            for point in work():
                add(engines[name], point)
        except Failed as failed:
            engines[name].update(failed=str(failed), points={})
            processes.pop(name).end()

    try:
        for name in (bar := tqdm(args.peers, desc="build")):
            bar.set_postfix_str(name)
            processes[name] = Process(name, folder, args.meridian, core)
            step(name, processes[name].answer)
        for at in range(args.rounds):
            for name in (bar := tqdm(list(processes), desc=f"round {at + 1} of {args.rounds}")):
                bar.set_postfix_str(name)
                step(name, processes[name].round)
    finally:
        for process in processes.values():
            process.end()
    return [engine | {"points": list(engine["points"].values())} for engine in engines.values()]


def add(engine, answer):
    """One more round of one point."""
    engine.update(build_s=answer["build_s"], rss_bytes=answer["rss_bytes"])
    first = {"params": answer["params"], "recall": answer["recall"], "qps": []}
    point = engine["points"].setdefault(json.dumps(answer["params"]), first)
    point["qps"].append(round(answer["qps"], 1))


def about(name):
    """Settings and version."""
    if name in OURS:
        return " ".join(OURS[name])
    try:
        version = metadata.version(PEERS[name].package)
    except metadata.PackageNotFoundError:
        version = "not installed"
    return f"{PEERS[name].config}; {PEERS[name].package} {version}"


def machine():
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": platform.release(),
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    main()
