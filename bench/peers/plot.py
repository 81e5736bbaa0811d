"""Recall against speed as a picture.

    plot.py RESULTS.json

draws the pictures beside it from earlier measurements.
"""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from peers import OURS
from report import speed

matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "meridian", "font.family": "sans-serif"}
TICKS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
LEFT, RIGHT = 0.8, 0.9995
DASHES = ("-", "--", ":", "-.")


def plot(one, machine, file):
    """Points of each engine that no other point of it exceeds in both recall and speed."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    # Logarithmic scale of 1 - recall.
    axes.set_xscale("function", functions=(lambda x: -np.log10(np.maximum(1 - x, 1e-9)), lambda x: 1 - 10.0**-x))
    axes.set_yscale("log")
    axes.set_xlim(LEFT, RIGHT)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    families = sorted({family(engine["name"]) for engine in one["engines"]} - {"meridian"})
    for engine in one["engines"]:
        if points := [(recall, qps) for recall, qps in front(engine) if recall >= LEFT]:
            axes.plot(*zip(*points), label=engine["name"], marker="o", markersize=3, **style(engine, one, families))
    axes.grid(alpha=0.3)
    axes.set_xlabel("recall of 10")
    axes.set_ylabel("queries a second, one thread")
    axes.set_title(f"{one['name']}: {one['n']:,} x {one['dim']}; {machine['cpu']}, {machine['date']}", fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(file, metadata={"Date": None})


def front(engine):
    fastest = 0
    for recall, qps in sorted(((min(point["recall"], RIGHT), speed(point)) for point in engine["points"]), reverse=True):
        if qps > fastest:
            fastest = qps
            yield recall, qps


def family(name):
    return name.partition("-")[0]


def style(engine, one, families):
    """A color for each library, a dash for each of its indexes; Meridian is black."""
    name = engine["name"]
    siblings = [other["name"] for other in one["engines"] if family(other["name"]) == family(name)]
    dash = DASHES[siblings.index(name) % len(DASHES)]
    if name in OURS:
        return {"color": "black", "linewidth": 2.5, "linestyle": dash}
    return {"color": f"C{families.index(family(name))}", "linewidth": 1.2, "linestyle": dash}


if __name__ == "__main__":
    source = Path(sys.argv[1])
    results = json.loads(source.read_text())
    for one in results["sets"]:
        plot(one, results["machine"], source.parent / f"{one['name']}.svg")
