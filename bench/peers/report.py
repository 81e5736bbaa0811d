"""The page of results.

    report.py RESULTS.json

prints it again, of numbers measured before.
"""

import json
import sys
from statistics import median

from peers import PEERS

RECALLS = (0.90, 0.95, 0.98, 0.99)
RANKED_BY = RECALLS.index(0.95)
# Of two figures that are nearer to each other than this, neither is the better.
TIE = 0.15
BASELINE = next(iter(PEERS))

ABOUT = """# Our engine beside its public peers

Written by `make bench` on {date}: {cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}.

All engines have the same vectors and queries, compared by angle, and look for {neighbours} neighbours. Each is a process
of its own with one thread, all on the same core. All are built, one after the other; then, round by round, all are measured in
turn, every point of their sweeps once. All are asked all queries in one call, but pyvsag and zvec, which have no such call, one
by one. At each point all queries are asked once untimed, then for a quarter of a second at least.

- **recall**: queries a second of the fastest point with this recall or more, the median of its rounds; nothing is
  interpolated. "–": no point of the sweep gets there.
- **±**: half the range of the rounds, relative to their median. Figures within {tie:.0f} % of each other are a tie: bold is the
  best and what ties with it. The last number compares with {baseline}.
- **bytes**: by which the process grew while it built, for each vector; the input is not among them.

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
    """The fastest point with this recall at least, if there is one."""
    reach = [point for point in engine["points"] if point["recall"] >= recall]
    return max(reach, key=speed, default=None)


def speed(point):
    return median(point["qps"]) if point else 0


def is_tie(one, other):
    return min(one, other) > (1 - TIE) * max(one, other)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(page(json.load(file)), end="")
