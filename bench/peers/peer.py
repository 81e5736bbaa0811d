"""What all peers have in common."""

from itertools import product

NEIGHBOURS = 10
# Effort of a search in a graph, from fast to thorough: the same that `meridian bench ann` tries.
EFS = (10, 12, 14, 16, 18, 20, 22, 25, 28, 30, 32, 36, 40, 45, 50, 60, 70, 80, 100, 120, 140, 160, 240, 320, 480, 640, 960)


def grid(**axes):
    """Every combination of the values, as keyword arguments of `ask`."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


class Peer:
    """One library. It builds in its constructor, of rows of length 1; `folder` is its own and empty.

    `ask(queries, **point)` prepares all queries at one point of the sweep and returns the call that is timed; `ids` makes
    rows of ids of what the call returns.
    """

    package = None  # its name for pip
    config = None  # what it is built with, in the words of its papers
    sweep = grid(ef=EFS)

    def ids(self, found):
        return found
