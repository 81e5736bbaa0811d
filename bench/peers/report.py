"""The page of results.

    report.py RESULTS.json

prints the page from earlier measurements.
"""

import json
import sys
from statistics import median

from peers import PEERS

RECALLS = (0.90, 0.95, 0.98, 0.99)
RANKED_BY = RECALLS.index(0.95)
# Relative difference below which two figures are a tie.
TIE = 0.15
BASELINE = next(iter(PEERS))

ABOUT = """# The search engine compared with other engines

Written by `make bench` on {date}: {cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}.

All engines search the same vectors with the same queries by cosine for {neighbours} neighbors. Each engine is a process with one
thread, and all run on the same core. All are built first, one after the other. Then each round measures every engine once, at
every point of its sweep. The queries of a point are sent in one call, except to pyvsag and zvec, which have no such call. At
each point all queries run once untimed, then for at least 0.25 s.

The figures are those of the engine, without HTTP and replication.

- **recall**: queries per second of the fastest point with at least this recall, median of the rounds, not interpolated. "–": no
  point of the sweep reaches it.
- **±**: half the range of the rounds, relative to their median. Figures within {tie:.0f} % of each other are a tie. Bold: the best
  figure and its ties. The last number is the ratio to {baseline}.
- **bytes**: growth of the process while it built, per vector; the input is not included.

[results.json](results.json) has every point of every round.
"""


def page(results):
    about = ABOUT.format(**results["machine"], **results, tie=100 * TIE, baseline=BASELINE)
    return "\n".join([about, *map(section, results["sets"])])


def section(one):
    chosen = {engine["name"]: [best(engine, recall) for recall in RECALLS] for engine in one["engines"]}
    tops = [max(map(speed, column)) for column in zip(*chosen.values())]
    ranked = sorted(one["engines"], key=lambda it: ("failed" in it, -speed(chosen[it["name"]][RANKED_BY])))
    head = ["engine", "built in, s", "bytes", *(f"recall {recall:.2f}" for recall in RECALLS), "settings"]
    line = ["---", *["--:"] * (len(head) - 2), "---"]
    table = [head, line, *(row(engine, chosen, tops, one["n"]) for engine in ranked)]
    size = f"{one['n']:,} vectors of {one['dim']}, {4 * one['dim']:,} bytes each; {one['queries']:,} other queries; "
    size += f"{one['rounds']} rounds."
    picture = f"![recall against speed]({one['name']}.svg)"
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    return "\n".join([f"## {one['name']}\n", f"{size}\n", f"{picture}\n", *lines, ""])


def row(engine, chosen, tops, n):
    if why := engine.get("failed"):
        why = f"**not measured: {why.replace('|', '/')}** ({engine['about']})"
        return [engine["name"], *["–"] * (2 + len(RECALLS)), why]
    points, baseline = chosen[engine["name"]], chosen.get(BASELINE, [None] * len(RECALLS))
    cells = [cell(*of) for of in zip(points, tops, baseline)]
    return [engine["name"], f"{engine['build_s']:,.1f}", f"{engine['rss_bytes'] / n:,.0f}", *cells, engine["about"]]


def cell(point, top, baseline):
    if not point:
        return "–"
    qps = f"{speed(point):,.0f}"
    text = f"**{qps}**" if is_tie(speed(point), top) else qps
    text += f" ±{50 * (max(point['qps']) - min(point['qps'])) / speed(point):.0f} %"
    if not baseline or baseline is point:
        return text
    return text + (", tie" if is_tie(speed(point), speed(baseline)) else f", {speed(point) / speed(baseline):.1f}x")


def best(engine, recall):
    """The fastest point with at least this recall, if any."""
    reach = [point for point in engine["points"] if point["recall"] >= recall]
    return max(reach, key=speed, default=None)


def speed(point):
    return median(point["qps"]) if point else 0


def is_tie(one, other):
    return min(one, other) > (1 - TIE) * max(one, other)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(page(json.load(file)), end="")
